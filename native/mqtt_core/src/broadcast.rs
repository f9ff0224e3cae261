//! One message to many connections.

use crate::connection::{CommandError, State};
use crate::message::Message;
use crate::outgoing::{Fate, Written};
use crate::{Connection, Dropped, Millis, Session, check_publish};
use bytes::BufMut;
use mqtt_codec::{Error, PacketId, Properties, Publish, Qos, Version};

/// A message to be published to many connections. What its packets have in common is encoded once for
/// all versions before MQTT 5.0 and once for that, and all sessions share one copy.
#[derive(Clone, Debug)]
pub struct Broadcast<'a> {
    publish: Publish<'a>,
    /// What sessions keep of one of QoS 1 or 2.
    message: Option<Message>,
    before_5: Head,
    of_5: Head,
}

/// A packet but for its payload.
#[derive(Clone, Debug)]
struct Head {
    bytes: Vec<u8>,
    /// Where the packet identifier goes.
    packet_id: usize,
}

impl<'a> Broadcast<'a> {
    /// Prepares a message, whose packet identifier is none. Its Message Expiry Interval begins `now`.
    pub fn new(publish: Publish<'a>, now: Millis) -> Result<Self, Error> {
        check_publish(&publish)?;
        let before_5 = Publish { properties: Properties::EMPTY, ..publish };
        Ok(Self {
            message: (publish.qos > Qos::AtMostOnce).then(|| Message::new(&publish, 0, now)),
            before_5: Head::new(&before_5, Version::V3_1_1)?,
            of_5: Head::new(&publish, Version::V5)?,
            publish,
        })
    }

    /// Prepares a message that is kept, for those who were granted this QoS.
    pub fn granted(message: &'a Message, qos: Qos, retain: bool) -> Result<Self, Error> {
        let publish = message.publish();
        let publish = Publish { qos: publish.qos.min(qos), retain, ..publish };
        check_publish(&publish)?;
        let before_5 = Publish { properties: Properties::EMPTY, ..publish };
        Ok(Self {
            message: (publish.qos > Qos::AtMostOnce).then(|| message.granted(qos, retain)),
            before_5: Head::new(&before_5, Version::V3_1_1)?,
            of_5: Head::new(&publish, Version::V5)?,
            publish,
        })
    }

    /// The message itself.
    #[must_use]
    pub const fn payload(&self) -> &'a [u8] {
        self.publish.payload
    }

    /// Its QoS.
    #[must_use]
    pub const fn qos(&self) -> Qos {
        self.publish.qos
    }

    fn head(&self, version: Version) -> &Head {
        if version < Version::V5 { &self.before_5 } else { &self.of_5 }
    }
}

impl Head {
    fn new(publish: &Publish<'_>, version: Version) -> Result<Self, Error> {
        let packet_id = (publish.qos > Qos::AtMostOnce).then_some(PacketId::MIN);
        let mut bytes = Vec::with_capacity(16 + publish.topic.len());
        Publish { packet_id, ..*publish }.encode_head(version, &mut bytes)?;
        // Behind the first byte, the remaining length, and the topic with its length.
        let continued = bytes.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count();
        let packet_id = 1 + continued + 1 + 2 + publish.topic.len();
        Ok(Self { bytes, packet_id })
    }

    fn write(&self, packet_id: Option<PacketId>, output: &mut impl BufMut) {
        let Some(id) = packet_id else { return output.put_slice(&self.bytes) };
        let (before, rest) = self.bytes.split_at(self.packet_id.min(self.bytes.len()));
        output.put_slice(before);
        output.put_u16(id.get());
        output.put_slice(rest.get(2..).unwrap_or_default());
    }
}

impl Connection {
    /// As [`publish`](Self::publish), for one of the connections that a message goes to.
    pub fn broadcast(
        &mut self,
        now: Millis,
        broadcast: &Broadcast<'_>,
        room: bool,
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<Fate, CommandError> {
        self.expect(State::Connected)?;
        if session.asks() {
            let alone = || Message::new(&broadcast.publish, 0, now);
            let message = broadcast.message.clone().unwrap_or_else(alone);
            return Ok(session.put_before(message, room, now));
        }
        let Some(message) = &broadcast.message else {
            if !room {
                session.drop_message(0, Dropped::QueueFull);
                return Ok(Fate::Dropped(Dropped::QueueFull));
            }
            return Ok(self.write_shared(broadcast, None, session, output));
        };
        if !session.make_room(message.qos, now) {
            session.drop_message(0, Dropped::QueueFull);
            return Ok(Fate::Dropped(Dropped::QueueFull));
        }
        let waits = !room || self.quota == 0 || session.is_waiting();
        let id = if waits { None } else { session.free_id() };
        let Some(id) = id else {
            session.put(message.clone());
            return Ok(Fate::Waiting);
        };
        session.bytes += message.size();
        let fate = self.write_shared(broadcast, Some(id), session, output);
        if fate == Fate::Head {
            self.quota = self.quota.saturating_sub(1);
            session.sent(id, message.clone());
        } else {
            session.bytes -= message.size();
        }
        Ok(fate)
    }

    fn write_shared(
        &mut self,
        broadcast: &Broadcast<'_>,
        id: Option<PacketId>,
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Fate {
        let head = broadcast.head(self.version());
        let length = head.bytes.len() + broadcast.payload().len();
        let fits = self.peer.maximum_packet_size.is_none_or(|maximum| length <= maximum);
        if fits && !self.chosen_aliases.allows_any() {
            head.write(id, output);
            return Fate::Head;
        }
        // With an alias it is not as all others, and may be shorter.
        let packet = Publish { packet_id: id, ..broadcast.publish };
        if let Ok(Written::Head) = self.write_head(&packet, None, true, output) {
            return Fate::Head;
        }
        session.drop_message(0, Dropped::PacketTooLarge);
        Fate::Dropped(Dropped::PacketTooLarge)
    }
}
