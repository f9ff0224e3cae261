//! A session as bytes, to be stored.
//!
//! A byte for the format, then the fields in the order of [`Session::export`], integers with the most
//! significant byte first, strings and lists with their length before them. Times are written as
//! milliseconds that are left, beside the moment at which they were.

use crate::message::Message;
use crate::session::{Received, Slot};
use crate::{Granted, Millis, Session, SessionLimits};
use bytes::{Buf, BufMut};
use mqtt_codec::{
    PacketId, Place, Properties, Publish, Qos, RetainHandling, SubscriptionOptions, Version, topic,
};

const FORMAT: u8 = 1;

impl Session {
    /// The session as bytes. `unix` is the time in milliseconds since 1970, at the moment `now`.
    #[must_use]
    pub fn export(&self, now: Millis, unix: Millis) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.bytes + 64);
        bytes.put_u8(FORMAT);
        bytes.put_u64(unix);
        bytes.put_u8(u8::from(self.used));
        bytes.put_u32(self.expiry_interval);
        bytes.put_u64(self.dropped as u64);
        let mut sent: Vec<_> = (1..=u16::MAX)
            .zip(&self.sent.slots)
            .filter_map(|(id, slot)| match slot {
                Slot::Free => None,
                Slot::Sent(number, message) => Some((*number, id, Some(message))),
                Slot::Released(number) => Some((*number, id, None)),
            })
            .collect();
        sent.sort_unstable_by_key(|(number, ..)| *number);
        put_length(sent.len(), &mut bytes);
        for (_, id, message) in sent {
            bytes.put_u16(id);
            bytes.put_u8(u8::from(message.is_some()));
            if let Some(message) = message {
                put_message(message, now, &mut bytes);
            }
        }
        put_length(self.waiting.kept().count(), &mut bytes);
        for message in self.waiting.kept() {
            put_message(message, now, &mut bytes);
        }
        let has = |state| matches!(state, Received::Secured | Received::Recorded);
        let recorded = || self.received.iter().filter(|(_, state)| has(**state));
        put_length(recorded().count(), &mut bytes);
        for (id, _) in recorded() {
            bytes.put_u16(id.get());
        }
        bytes.put_u8(u8::from(self.subscriptions.is_some()));
        put_length(self.subscriptions().count(), &mut bytes);
        for (filter, granted) in self.subscriptions() {
            put_bytes(filter.as_bytes(), &mut bytes);
            let options = granted.options;
            bytes.put_u8(options.qos as u8);
            bytes.put_u8(u8::from(options.no_local));
            bytes.put_u8(u8::from(options.retain_as_published));
            bytes.put_u8(options.retain_handling as u8);
            bytes.put_u32(granted.identifier.unwrap_or(0));
        }
        bytes
    }

    /// A session from the bytes of [`export`](Self::export), if they are such. Messages have aged
    /// meanwhile.
    #[must_use]
    pub fn import(bytes: &[u8], limits: SessionLimits, now: Millis, unix: Millis) -> Option<Self> {
        let mut reader = Reader { bytes, now, elapsed: 0 };
        if reader.u8()? != FORMAT {
            return None;
        }
        reader.elapsed = unix.saturating_sub(reader.u64()?);
        let mut session = Self::new(limits);
        session.used = reader.flag()?;
        session.expiry_interval = reader.u32()?;
        session.dropped = usize::try_from(reader.u64()?).ok()?;
        for number in 1..=u64::from(reader.u32()?) {
            let id = reader.packet_id()?;
            let message = if reader.flag()? { Some(reader.message()?) } else { None };
            session.restore(number, id, message)?;
        }
        session.free_the_rest();
        for _ in 0..reader.length()? {
            let message = reader.message()?;
            session.put(message);
        }
        for _ in 0..reader.length()? {
            session.received.insert(reader.packet_id()?, Received::Recorded);
        }
        if reader.flag()? {
            session.subscriptions = Some(Box::default());
        }
        for _ in 0..reader.length()? {
            // One of MQTT 3.1.1 may begin with `$share` and be no shared subscription's.
            let filter = topic::check_filter(reader.bytes()?, Version::V3_1_1, u16::MAX).ok()?;
            let options = SubscriptionOptions {
                qos: Qos::from_bits(reader.u8()?)?,
                no_local: reader.flag()?,
                retain_as_published: reader.flag()?,
                retain_handling: match reader.u8()? {
                    0 => RetainHandling::Send,
                    1 => RetainHandling::SendIfNew,
                    2 => RetainHandling::DoNotSend,
                    _ => return None,
                },
            };
            let identifier = Some(reader.u32()?).filter(|identifier| *identifier != 0);
            session.subscribe(filter, Granted { options, identifier });
        }
        reader.bytes.is_empty().then_some(session)
    }

    /// Puts a message that was under way back to its packet identifier.
    fn restore(&mut self, number: u64, id: PacketId, message: Option<Message>) -> Option<()> {
        let at = usize::from(id.get()) - 1;
        if self.sent.slots.len() <= at {
            self.sent.slots.resize_with(at + 1, || Slot::Free);
        }
        let slot = self.sent.slots.get_mut(at).filter(|slot| matches!(slot, Slot::Free))?;
        *slot = match message {
            Some(message) if message.qos == Qos::AtMostOnce => return None,
            Some(message) => {
                self.bytes += message.size();
                Slot::Sent(number, message)
            }
            None => Slot::Released(number),
        };
        self.under_way += 1;
        self.next = number;
        Some(())
    }

    /// The identifiers that nothing was restored to are free.
    fn free_the_rest(&mut self) {
        let Some(sent) = self.sent.existing() else { return };
        let ids = (1..=u16::MAX).filter_map(PacketId::new);
        let free = ids.zip(&sent.slots).filter(|(_, slot)| matches!(slot, Slot::Free));
        sent.free = free.map(|(id, _)| id).collect();
    }
}

fn put_length(length: usize, bytes: &mut Vec<u8>) {
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

fn put_bytes(part: &[u8], bytes: &mut Vec<u8>) {
    put_length(part.len(), bytes);
    bytes.put_slice(part);
}

fn put_message(message: &Message, now: Millis, bytes: &mut Vec<u8>) {
    let publish = message.publish();
    bytes.put_u8(publish.qos as u8);
    bytes.put_u8(u8::from(publish.retain));
    bytes.put_u64(message.expires.map_or(u64::MAX, |expires| expires.saturating_sub(now)));
    put_bytes(publish.topic.as_bytes(), bytes);
    put_bytes(publish.properties.as_bytes(), bytes);
    put_bytes(publish.payload, bytes);
}

/// Takes fields from the front of bytes that may be anything.
struct Reader<'a> {
    bytes: &'a [u8],
    now: Millis,
    /// Milliseconds since the bytes were written.
    elapsed: Millis,
}

impl<'a> Reader<'a> {
    fn u8(&mut self) -> Option<u8> {
        self.bytes.try_get_u8().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes.try_get_u32().ok()
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes.try_get_u64().ok()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }

    fn packet_id(&mut self) -> Option<PacketId> {
        PacketId::new(self.bytes.try_get_u16().ok()?)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        let (part, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(part)
    }

    fn message(&mut self) -> Option<Message> {
        let qos = Qos::from_bits(self.u8()?)?;
        let retain = self.flag()?;
        let left = self.u64()?;
        let topic = core::str::from_utf8(self.bytes()?).ok()?;
        let properties = Properties::from_bytes(self.bytes()?, Place::Publish).ok()?;
        let payload = self.bytes()?;
        let publish =
            Publish { dup: false, qos, retain, topic, packet_id: None, properties, payload };
        crate::check_publish(&publish).ok()?;
        let mut message = Message::new(&publish, 0, self.now);
        let left = (left != u64::MAX).then(|| left.saturating_sub(self.elapsed));
        message.expires = left.map(|left| self.now.saturating_add(left));
        Some(message)
    }
}
