//! Messages from the client, and our acknowledgements (section 4.3).

use crate::config::code_for;
use crate::connection::{CommandError, put_success};
use crate::session::Received as ReceivedId;
use crate::{Close, Connection, Event, Received, Session, Violation};
use bytes::BufMut;
use mqtt_codec::{
    Ack, Packet, PacketId, PacketType, Properties, Property, PropertyIdentifier, Publish, Qos,
    ReasonCode, Version,
};

impl Connection {
    /// A message from the client.
    pub(crate) fn receive_publish<'a>(
        &mut self,
        publish: &Publish<'a>,
        length: usize,
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<Received<'a>, Close> {
        if publish.retain && !self.features.retain {
            return Err(Violation::RetainNotSupported.into());
        }
        if publish.qos > self.features.maximum_qos {
            return Err(Violation::QosNotSupported.into());
        }
        if let Some(id) = publish.packet_id {
            if publish.qos == Qos::ExactlyOnce {
                match session.received.get(&id) {
                    // The application has it already [MQTT-4.3.3-10].
                    Some(ReceivedId::Recorded) => {
                        self.resolve_alias(publish)?;
                        self.put_ack(Packet::Pubrec, Ack::new(id), output)?;
                        return Ok(Received::Handled(length));
                    }
                    Some(ReceivedId::Pending | ReceivedId::Secured) => {
                        self.resolve_alias(publish)?;
                        return Ok(Received::Handled(length));
                    }
                    Some(ReceivedId::Abandoned) | None => {}
                }
            }
            let is_5 = self.version() >= Version::V5;
            if is_5 && self.incoming >= self.config.receive_maximum {
                return Err(Violation::ReceiveMaximumExceeded.into());
            }
            // Before MQTT 5.0 a client does not know how many it may have, and is kept waiting.
            if self.unanswered.len() >= usize::from(self.config.receive_maximum) {
                return Ok(Received::Full);
            }
            self.resolve_alias(publish)?;
            self.incoming = self.incoming.saturating_add(1);
            self.unanswered.push_back((id, publish.qos));
            if publish.qos == Qos::ExactlyOnce {
                session.received.insert(id, ReceivedId::Pending);
            }
        } else {
            self.resolve_alias(publish)?;
        }
        Ok(Received::Event(Event::Publish(*publish), length))
    }

    /// Remembers or looks up the topic of an alias (MQTT 5.0, section 3.3.2.3.4).
    fn resolve_alias(&mut self, publish: &Publish<'_>) -> Result<(), Violation> {
        // [MQTT-3.3.4-6]
        if publish.properties.has(PropertyIdentifier::SubscriptionIdentifier) {
            return Err(Violation::SubscriptionIdentifierFromClient);
        }
        if !publish.properties.has(PropertyIdentifier::TopicAlias) {
            return Ok(());
        }
        for property in publish.properties.iter() {
            match property {
                Property::TopicAlias(alias) if !self.set_aliases.allows(alias) => {
                    return Err(Violation::TopicAliasInvalid);
                }
                Property::TopicAlias(alias) if publish.topic.is_empty() => {
                    self.last_alias = alias;
                    if self.set_aliases.topic(alias).is_none() {
                        return Err(Violation::UnknownTopicAlias);
                    }
                }
                Property::TopicAlias(alias) => self.set_aliases.set(alias, publish.topic),
                _ => {}
            }
        }
        Ok(())
    }

    /// The topic of the message that [`receive`](Self::receive) gave last, if the message has only an
    /// alias.
    #[must_use]
    pub fn aliased_topic(&self) -> &str {
        self.set_aliases.topic(self.last_alias).unwrap_or_default()
    }

    /// Messages of QoS 1 and 2 that the application has not answered.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// The message that [`receive`](Self::receive) gave last goes its way whatever becomes of this connection. One of QoS 2
    /// that comes again over the next one is not given again [MQTT-4.3.3-10].
    pub fn secure(&mut self, session: &mut Session) {
        if let Some((id, Qos::ExactlyOnce)) = self.unanswered.back() {
            session.received.insert(*id, ReceivedId::Secured);
        }
    }

    /// The same for a message of QoS 2 by its identifier, before it goes its way. Says no, and it must not, where another connection has
    /// begun with the session, over which the client sends it again.
    pub fn claim(&mut self, id: PacketId, session: &mut Session) -> bool {
        let current = session.connections == self.number;
        match session.received.get_mut(&id) {
            Some(received @ (ReceivedId::Pending | ReceivedId::Secured)) if current => {
                *received = ReceivedId::Secured;
                true
            }
            _ => false,
        }
    }

    /// Answers the first message of QoS 1 or 2 that is not answered yet: PUBACK or PUBREC. MQTT 5.0
    /// may refuse it with the reason; before, it is acknowledged all the same [MQTT-3.3.5-2].
    pub fn acknowledge(
        &mut self,
        reason: ReasonCode,
        properties: Properties<'_>,
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<(), CommandError> {
        let Some(&(id, qos)) = self.unanswered.front() else {
            return Err(CommandError::WrongState);
        };
        let exactly_once = qos == Qos::ExactlyOnce;
        if reason == ReasonCode::SUCCESS && properties.is_empty() {
            let packet_type = if exactly_once { PacketType::Pubrec } else { PacketType::Puback };
            put_success(packet_type, id, output);
        } else {
            let packet = if exactly_once { Packet::Pubrec } else { Packet::Puback };
            // PUBREC has the same ones.
            let reason = code_for(reason, PacketType::Puback);
            self.put_ack(packet, Ack { packet_id: id, reason, properties }, output)?;
        }
        self.unanswered.pop_front();
        if qos == Qos::AtLeastOnce {
            self.incoming = self.incoming.saturating_sub(1);
        } else {
            let refused = self.version() >= Version::V5 && reason.is_error();
            self.incoming = self.incoming.saturating_sub(u16::from(refused));
            session.answered(id, self.number, refused);
        }
        Ok(())
    }

    pub(crate) fn receive_pubrel(
        &mut self,
        ack: Ack<'_>,
        session: &mut Session,
        output: &mut impl BufMut,
    ) -> Result<(), Close> {
        let received = session.received.get(&ack.packet_id).copied();
        // It answers a PUBREC that was not sent, and ends the connection. What becomes of the message does not change by that.
        if matches!(received, Some(ReceivedId::Pending | ReceivedId::Secured)) {
            return Err(Violation::UnexpectedPacket.into());
        }
        let reason = match session.received.remove(&ack.packet_id) {
            Some(ReceivedId::Recorded) => {
                self.incoming = self.incoming.saturating_sub(1);
                ReasonCode::SUCCESS
            }
            _ => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        if reason == ReasonCode::SUCCESS {
            put_success(PacketType::Pubcomp, ack.packet_id, output);
            return Ok(());
        }
        let pubcomp = Ack { reason, ..Ack::new(ack.packet_id) };
        Ok(self.put_ack(Packet::Pubcomp, pubcomp, output)?)
    }
}
