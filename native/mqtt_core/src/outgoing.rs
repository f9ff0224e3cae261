//! Messages to the client, and its acknowledgements (section 4.3).

use crate::aliases::Alias;
use crate::connection::{CommandError, State, put_success};
use crate::message::Message;
use crate::session::{Acknowledged, Next};
use crate::{Close, Connection, Dropped, Millis, Session, Violation};
use bytes::BufMut;
use mqtt_codec::{
    Ack, Error, Packet, PacketId, PacketType, Properties, PropertiesBuf, Property,
    PropertyIdentifier, Publish, Qos, ReasonCode, Version,
};

/// What has become of a message to be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The packet is in the output but for its payload, which the caller sends behind it.
    Head,
    /// It waits in the session.
    Waiting,
    /// It is not sent.
    Dropped(Dropped),
}

/// Messages that one call of [`Connection::pump`] deals with at most.
const MAX_PUMPED: usize = 1024;

/// Whether a packet was written.
pub(crate) enum Written {
    Head,
    /// It is larger than what the client takes.
    TooLarge,
}

impl Connection {
    pub(crate) fn receive_puback(
        &mut self,
        ack: Ack<'_>,
        session: &mut Session,
    ) -> Result<(), Close> {
        let acknowledged = session.acknowledge(ack.packet_id, Qos::AtLeastOnce, ack.reason);
        self.acknowledged(acknowledged)
    }

    pub(crate) fn receive_pubrec(
        &mut self,
        ack: Ack<'_>,
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<(), Close> {
        let reason = match session.record(ack.packet_id, ack.reason) {
            Acknowledged::Release => ReasonCode::SUCCESS,
            // An unknown one that refuses needs no answer.
            Acknowledged::Unknown if !ack.reason.is_error() => {
                ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
            }
            other => return self.acknowledged(other),
        };
        if reason == ReasonCode::SUCCESS {
            put_success(PacketType::Pubrel, ack.packet_id, output);
            return Ok(());
        }
        let pubrel = Ack { reason, ..Ack::new(ack.packet_id) };
        Ok(self.put_ack(Packet::Pubrel, pubrel, output)?)
    }

    pub(crate) fn receive_pubcomp(
        &mut self,
        ack: Ack<'_>,
        session: &mut Session,
    ) -> Result<(), Close> {
        let acknowledged = session.complete(ack.packet_id);
        self.acknowledged(acknowledged)
    }

    fn acknowledged(&mut self, acknowledged: Acknowledged) -> Result<(), Close> {
        match acknowledged {
            Acknowledged::Done => {
                // Never above where it began (MQTT 5.0, section 4.9).
                let most = self.peer.receive_maximum.min(self.config.max_inflight);
                self.quota = self.quota.saturating_add(1).min(most);
                Ok(())
            }
            // What a session that is gone had sent may be acknowledged yet.
            Acknowledged::Unknown | Acknowledged::DoneEarlier | Acknowledged::Release => Ok(()),
            Acknowledged::Unexpected => Err(Violation::UnexpectedPacket.into()),
        }
    }

    /// Publishes a message, whose packet identifier is none. At QoS 1 and 2 it gets one and is kept
    /// in the session until it is acknowledged, or until its turn comes.
    ///
    /// `reference` is how the application calls it in [`Session::next_delivery`], or 0. With `room`
    /// the caller says that what is written now is not too much; without, a message of QoS 0 is
    /// dropped and others wait.
    pub fn publish(
        &mut self,
        now: Millis,
        publish: &Publish<'_>,
        reference: u64,
        room: bool,
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<Fate, CommandError> {
        if self.state != State::Connected {
            return Err(CommandError::WrongState);
        }
        check_properties(&publish.properties)?;
        if session.asks() {
            check_publish(publish)?;
            return Ok(session.put_before(Message::new(publish, reference, now), room, now));
        }
        if publish.qos == Qos::AtMostOnce {
            return self.publish_at_most_once(publish, reference, room, session, output);
        }
        let full = !session.make_room(publish.qos, now);
        let next = if full || !room || self.quota == 0 || session.is_waiting() {
            None
        } else {
            session.free_id()
        };
        let Some(id) = next else {
            check_publish(publish)?;
            if full {
                session.drop_message(reference, Dropped::QueueFull);
                return Ok(Fate::Dropped(Dropped::QueueFull));
            }
            // It was just seen that there is room.
            let _ = session.enqueue(publish, reference, now, true);
            return Ok(Fate::Waiting);
        };
        // DUP is not that of a message that came in [MQTT-3.3.1-3].
        let packet = Publish { dup: false, packet_id: Some(id), ..*publish };
        match self.write_head(&packet, None, false, output)? {
            Written::TooLarge => {
                session.drop_message(reference, Dropped::PacketTooLarge);
                Ok(Fate::Dropped(Dropped::PacketTooLarge))
            }
            Written::Head => {
                self.quota = self.quota.saturating_sub(1);
                let message = Message::new(publish, reference, now);
                session.bytes += message.size();
                session.sent(id, message);
                Ok(Fate::Head)
            }
        }
    }

    fn publish_at_most_once(
        &mut self,
        publish: &Publish<'_>,
        reference: u64,
        room: bool,
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<Fate, CommandError> {
        if !room {
            check_publish(publish)?;
            session.drop_message(reference, Dropped::QueueFull);
            return Ok(Fate::Dropped(Dropped::QueueFull));
        }
        match self.write_head(publish, None, false, output)? {
            Written::TooLarge => {
                session.drop_message(reference, Dropped::PacketTooLarge);
                Ok(Fate::Dropped(Dropped::PacketTooLarge))
            }
            Written::Head => {
                session.written(reference);
                Ok(Fate::Head)
            }
        }
    }

    /// Sends what is due and may be sent: once more what an earlier connection did not finish, in the
    /// original order [MQTT-4.4.0-1], and then what waits. Stops when `output` has `limit` bytes, or after
    /// many messages, and says whether that was the reason.
    pub fn pump(
        &mut self,
        now: Millis,
        session: &mut Session,
        output: &mut Vec<u8>,
        limit: usize,
    ) -> bool {
        if self.state != State::Connected {
            return false;
        }
        for _ in 0..MAX_PUMPED {
            if output.len() >= limit {
                break;
            }
            match session.next(self.quota) {
                Next::Nothing => return false,
                Next::Release(id) => {
                    let put = self.put_ack(Packet::Pubrel, Ack::new(id), output);
                    debug_assert!(put.is_ok(), "a PUBREL without properties can be written");
                }
                Next::Resend(id) => self.resend(now, id, session, output),
                Next::First => {
                    if !self.send_first(now, session, output) {
                        return false;
                    }
                }
            }
        }
        session.is_waiting()
    }

    /// Sends a message again, with DUP [MQTT-3.3.1-1].
    fn resend(&mut self, now: Millis, id: PacketId, session: &mut Session, output: &mut Vec<u8>) {
        let Some(message) = session.message(id) else { return };
        let packet = Publish { dup: true, packet_id: Some(id), ..message.publish() };
        match self.write_head(&packet, message.seconds_left(now), true, output) {
            Ok(Written::Head) => {
                output.extend_from_slice(packet.payload);
                self.quota = self.quota.saturating_sub(1);
                session.resent(id);
            }
            Ok(Written::TooLarge) | Err(_) => {
                if session.drop_sent(id, Dropped::PacketTooLarge) {
                    let put = self.put_ack(Packet::Pubrel, Ack::new(id), output);
                    debug_assert!(put.is_ok(), "a PUBREL without properties can be written");
                }
            }
        }
    }

    /// Sends the first message that waits, unless there is no packet identifier for it.
    fn send_first(&mut self, now: Millis, session: &mut Session, output: &mut Vec<u8>) -> bool {
        let Some(first) = session.waiting.first() else { return true };
        if first.has_expired(now) {
            // What comes next then may not be sent yet.
            session.drop_expired(now);
            return true;
        }
        let at_most_once = first.qos == Qos::AtMostOnce;
        let packet_id = if at_most_once { None } else { session.free_id() };
        if packet_id.is_none() && !at_most_once {
            return false;
        }
        // It is moved once, from where it waits to where it is under way.
        let Some(first) = session.waiting.first() else { return true };
        let packet = Publish { packet_id, ..first.publish() };
        let written = self.write_head(&packet, first.seconds_left(now), true, output);
        if matches!(written, Ok(Written::Head)) {
            output.extend_from_slice(packet.payload);
        }
        let Some(first) = session.take_first() else { return true };
        match (written, packet_id) {
            (Ok(Written::Head), Some(id)) => {
                self.quota = self.quota.saturating_sub(1);
                session.sent(id, first);
            }
            (Ok(Written::Head), None) => {
                session.bytes -= first.size();
                session.written(first.reference);
            }
            (Ok(Written::TooLarge) | Err(_), _) => {
                session.bytes -= first.size();
                session.drop_message(first.reference, Dropped::PacketTooLarge);
            }
        }
        true
    }

    /// Appends a PUBLISH without its payload, as this client wants it. `seconds_left` is what is left
    /// of its Message Expiry Interval [MQTT-3.3.2-6]; `checked` says whether it was checked before.
    pub(crate) fn write_head(
        &mut self,
        publish: &Publish<'_>,
        seconds_left: Option<u32>,
        checked: bool,
        output: &mut impl BufMut,
    ) -> Result<Written, Error> {
        let version = self.version();
        if version < Version::V5 {
            let publish = Publish { properties: Properties::EMPTY, ..*publish };
            if checked {
                publish.encode_checked_head(version, output)?;
            } else {
                publish.encode_head(version, output)?;
            }
            return Ok(Written::Head);
        }
        let alias = self.chosen_aliases.look_up(publish.topic);
        self.write_adapted(publish, alias, seconds_left, output)
    }

    fn write_adapted(
        &mut self,
        publish: &Publish<'_>,
        alias: Alias,
        seconds_left: Option<u32>,
        output: &mut impl BufMut,
    ) -> Result<Written, Error> {
        if alias == Alias::None && seconds_left.is_none() {
            return self.write_fitting(publish, output);
        }
        let mut properties = self.scratch.take().unwrap_or_default();
        properties.clear();
        let result =
            adapt(&publish.properties, alias, seconds_left, &mut properties).and_then(|()| {
                let known = matches!(alias, Alias::Known(_));
                let topic = if known { "" } else { publish.topic };
                let properties = properties.as_properties();
                self.write_fitting(&Publish { topic, properties, ..*publish }, output)
            });
        self.scratch = Some(properties);
        match result {
            Ok(Written::Head) => self.chosen_aliases.choose(alias, publish.topic),
            // It may fit without an alias, which is longer than a short topic or comes on top of it.
            Ok(Written::TooLarge) if alias != Alias::None => {
                return self.write_adapted(publish, Alias::None, seconds_left, output);
            }
            _ => {}
        }
        result
    }

    fn write_fitting(
        &self,
        publish: &Publish<'_>,
        output: &mut impl BufMut,
    ) -> Result<Written, Error> {
        let version = self.version();
        if let Some(maximum) = self.peer.maximum_packet_size {
            // [MQTT-3.1.2-24] [MQTT-3.1.2-25]
            if Packet::Publish(*publish).packet_length(version)? > maximum {
                return Ok(Written::TooLarge);
            }
        }
        publish.encode_head(version, output)?;
        Ok(Written::Head)
    }
}

/// Whether a message could be published to a client of MQTT 5.0, which takes all there is.
pub fn check_publish(publish: &Publish<'_>) -> Result<(), Error> {
    check_properties(&publish.properties)?;
    let packet_id = (publish.qos > Qos::AtMostOnce).then_some(PacketId::MIN);
    let publish = Publish { packet_id, ..*publish };
    Packet::Publish(publish).packet_length(Version::V5).map(|_| ())
}

/// An alias is ours to choose.
fn check_properties(properties: &Properties<'_>) -> Result<(), Error> {
    if properties.has(PropertyIdentifier::TopicAlias) {
        return Err(Error::PropertyNotAllowed);
    }
    Ok(())
}

/// The properties with an alias and with another Message Expiry Interval.
fn adapt(
    properties: &Properties<'_>,
    alias: Alias,
    seconds_left: Option<u32>,
    adapted: &mut PropertiesBuf,
) -> Result<(), Error> {
    for property in properties.iter() {
        match (property, seconds_left) {
            (Property::MessageExpiryInterval(_), Some(seconds)) => {
                adapted.push(&Property::MessageExpiryInterval(seconds))?;
            }
            _ => adapted.push(&property)?,
        }
    }
    match alias {
        Alias::None => Ok(()),
        Alias::Known(alias) | Alias::New(alias) => adapted.push(&Property::TopicAlias(alias)),
    }
}
