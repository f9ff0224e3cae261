//! A simple client that obeys the protocol, with a session of its own.

use crate::ledger::{Ledger, TOPICS, UpOutcome, number};
use crate::rng::Rng;
use mqtt_codec::{
    Ack, Connack, Connect, Decoded, Decoder, Disconnect, Limits, Packet, PacketId, Properties,
    PropertiesBuf, Property, Publish, Qos, ReasonCode, Version,
};
use mqtt_core::Millis;
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Offline,
    Connecting,
    Connected,
}

/// A message of QoS 1 or 2 that the client has sent.
#[derive(Debug)]
struct InFlight {
    id: PacketId,
    number: usize,
    qos: Qos,
    /// PUBREL was sent.
    released: bool,
    /// It is on this connection, so that it counts.
    here: bool,
}

/// An answer to a message, which is due.
struct Answer {
    id: PacketId,
    qos: Qos,
    reason: ReasonCode,
}

pub(crate) struct Client {
    pub(crate) version: Version,
    pub(crate) state: State,
    /// Bytes from the server that are not read yet, and bytes to it that are not sent yet.
    pub(crate) input: Vec<u8>,
    pub(crate) output: Vec<u8>,
    /// What it says of itself in CONNECT.
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet_size: Option<usize>,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) problem_information: bool,
    /// What the server says of itself in CONNACK. `window` is how many messages may be under way.
    window: usize,
    aliases_to_server: Vec<Option<usize>>,
    aliases_from_server: Vec<Option<usize>>,
    in_flight: Vec<InFlight>,
    /// Messages that came with QoS 2 and are not released yet.
    received: Vec<(PacketId, usize)>,
    answers: VecDeque<Answer>,
    /// Messages of QoS 1 and 2 that came on this connection and are not complete.
    open: Vec<PacketId>,
    /// A CONNECT with Clean Start was not answered, so the next one needs it again.
    must_clean: bool,
    next_id: u16,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self {
            version: Version::V5,
            state: State::Offline,
            input: Vec::new(),
            output: Vec::new(),
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            problem_information: true,
            window: 0,
            aliases_to_server: Vec::new(),
            aliases_from_server: Vec::new(),
            in_flight: Vec::new(),
            received: Vec::new(),
            answers: VecDeque::new(),
            open: Vec::new(),
            must_clean: false,
            next_id: 0,
        }
    }

    fn send(&mut self, packet: &Packet<'_>) {
        packet.encode(self.version, &mut self.output).unwrap();
    }

    /// Sends CONNECT. Before MQTT 5.0 the server cannot tell its Receive Maximum: the client keeps
    /// to `window` by luck.
    pub(crate) fn connect(&mut self, clean: bool, window: usize, ledger: &mut Ledger) {
        let clean_start = clean || self.must_clean;
        self.window = window;
        self.must_clean = clean_start;
        if clean_start {
            self.forget(ledger);
        }
        self.state = State::Connecting;
        let mut properties = PropertiesBuf::default();
        if self.version >= Version::V5 {
            properties.push(&Property::SessionExpiryInterval(u32::MAX)).unwrap();
            if self.receive_maximum < u16::MAX {
                properties.push(&Property::ReceiveMaximum(self.receive_maximum)).unwrap();
            }
            if let Some(size) = self.maximum_packet_size {
                properties.push(&Property::MaximumPacketSize(size as u32)).unwrap();
            }
            properties.push(&Property::TopicAliasMaximum(self.topic_alias_maximum)).unwrap();
            let wanted = u8::from(self.problem_information);
            properties.push(&Property::RequestProblemInformation(wanted)).unwrap();
        }
        self.send(&Packet::Connect(Connect {
            version: self.version,
            clean_start,
            keep_alive: 0,
            properties: properties.as_properties(),
            client_id: "c",
            will: None,
            username: None,
            password: None,
        }));
    }

    pub(crate) fn disconnect(&mut self) {
        self.send(&Packet::Disconnect(Disconnect::NORMAL));
    }

    /// The connection is gone, and what is not part of the session with it.
    pub(crate) fn lose(&mut self) {
        self.state = State::Offline;
        self.input.clear();
        self.output.clear();
        self.answers.clear();
        self.open.clear();
        for message in &mut self.in_flight {
            message.here = false;
        }
    }

    /// The session is gone.
    fn forget(&mut self, ledger: &mut Ledger) {
        for message in self.in_flight.drain(..) {
            ledger.up[message.number].outcome = Some(UpOutcome::Discarded);
        }
        self.received.clear();
    }

    /// Whether nothing is left to be done, but for what others have to do.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_empty() && self.received.is_empty() && self.answers.is_empty()
    }

    pub(crate) fn answers(&self) -> usize {
        self.answers.len()
    }

    /// Publishes a message, if it may.
    pub(crate) fn publish(&mut self, now: Millis, ledger: &mut Ledger, rng: &mut Rng) {
        let waits = self.in_flight.iter().any(|message| !message.here);
        if self.state != State::Connected || waits {
            return;
        }
        let number = ledger.new_up(now, rng);
        let content = ledger.up[number].content.clone();
        if content.qos > Qos::AtMostOnce && !self.may_send(content.qos) {
            ledger.up.pop();
            return;
        }
        let packet_id = (content.qos > Qos::AtMostOnce).then(|| self.free_id());
        if let Some(id) = packet_id {
            let qos = content.qos;
            self.in_flight.push(InFlight { id, number, qos, released: false, here: true });
        }
        let mut properties = PropertiesBuf::default();
        let mut publish = Publish { packet_id, ..content.publish(Properties::EMPTY) };
        if !self.aliases_to_server.is_empty() && rng.chance(50) {
            let index = rng.below(self.aliases_to_server.len());
            properties.push(&Property::TopicAlias(index as u16 + 1)).unwrap();
            let alias = &mut self.aliases_to_server[index];
            if *alias == Some(content.topic) {
                publish.topic = "";
            }
            *alias = Some(content.topic);
        }
        publish.properties = properties.as_properties();
        self.send(&Packet::Publish(publish));
    }

    /// Whether the server takes one more.
    fn may_send(&self, qos: Qos) -> bool {
        let here = self.in_flight.iter().filter(|message| message.here);
        if self.version >= Version::V5 {
            return here.count() < self.window;
        }
        // A server of MQTT 3.1.1 makes us wait for its answers, but not for our own PUBRELs.
        let of_qos_2 = here.clone().filter(|message| message.qos == Qos::ExactlyOnce).count();
        here.count() < self.window || of_qos_2 + usize::from(qos == Qos::ExactlyOnce) < self.window
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            self.next_id = self.next_id % 40 + 1;
            let id = PacketId::new(self.next_id).unwrap();
            if self.in_flight.iter().all(|message| message.id != id) {
                return id;
            }
        }
    }

    /// Sends again what was not finished on an earlier connection, in its order.
    pub(crate) fn resend(&mut self, ledger: &Ledger) {
        while let Some(index) = self.in_flight.iter().position(|message| !message.here) {
            let InFlight { id, number, qos, released, .. } = self.in_flight[index];
            if released {
                self.send(&Packet::Pubrel(Ack::new(id)));
            } else if self.may_send(qos) {
                let content = &ledger.up[number].content;
                let publish = content.publish(Properties::EMPTY);
                self.send(&Packet::Publish(Publish { dup: true, packet_id: Some(id), ..publish }));
            } else {
                return;
            }
            self.in_flight[index].here = true;
        }
    }

    /// Reads the packets that are there.
    pub(crate) fn read(&mut self, ledger: &mut Ledger, rng: &mut Rng) {
        let input = std::mem::take(&mut self.input);
        let packet_size = self.maximum_packet_size.unwrap_or(usize::MAX);
        let limits = Limits { packet_size, ..Limits::default() };
        let decoder = Decoder { version: self.version, limits };
        let mut at = 0;
        while self.state != State::Offline {
            match decoder.decode(&input[at..]).unwrap() {
                Decoded::Incomplete(_) => break,
                Decoded::Packet(packet, length) => {
                    at += length;
                    self.receive(&packet, ledger, rng);
                }
            }
        }
        self.input = input;
        self.input.drain(..at);
    }

    fn receive(&mut self, packet: &Packet<'_>, ledger: &mut Ledger, rng: &mut Rng) {
        match packet {
            Packet::Connack(connack) => self.receive_connack(connack, ledger),
            Packet::Publish(publish) => self.receive_publish(publish, ledger, rng),
            Packet::Puback(ack) => self.receive_answer(ack, Qos::AtLeastOnce, ledger),
            Packet::Pubrec(ack) => self.receive_answer(ack, Qos::ExactlyOnce, ledger),
            Packet::Pubrel(ack) => {
                let known = self.received.iter().position(|(id, _)| *id == ack.packet_id);
                let reason = match known {
                    Some(index) => {
                        self.received.remove(index);
                        ReasonCode::SUCCESS
                    }
                    None if self.version >= Version::V5 => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
                    None => ReasonCode::SUCCESS,
                };
                self.open.retain(|id| *id != ack.packet_id);
                self.send(&Packet::Pubcomp(Ack { reason, ..Ack::new(ack.packet_id) }));
            }
            Packet::Pubcomp(ack) => {
                let message = self.complete(ack.packet_id);
                assert!(message.released, "PUBCOMP without PUBREL: {message:?}");
                ledger.up[message.number].outcome = Some(UpOutcome::Acknowledged);
                self.resend(ledger);
            }
            Packet::Disconnect(_) => self.lose(),
            other => panic!("{other:?}"),
        }
    }

    fn receive_connack(&mut self, connack: &Connack<'_>, ledger: &mut Ledger) {
        assert_eq!(self.state, State::Connecting);
        assert_eq!(connack.reason, ReasonCode::SUCCESS);
        assert!(!(connack.session_present && self.must_clean));
        self.state = State::Connected;
        self.must_clean = false;
        if !connack.session_present {
            self.forget(ledger);
        }
        let mut aliases = 0;
        if self.version >= Version::V5 {
            self.window = usize::from(u16::MAX);
            for property in connack.properties.iter() {
                match property {
                    Property::ReceiveMaximum(maximum) => self.window = usize::from(maximum),
                    Property::TopicAliasMaximum(maximum) => aliases = usize::from(maximum),
                    _ => {}
                }
            }
        }
        self.aliases_to_server = vec![None; aliases];
        self.aliases_from_server = vec![None; usize::from(self.topic_alias_maximum)];
        self.resend(ledger);
    }

    fn receive_publish(&mut self, publish: &Publish<'_>, ledger: &mut Ledger, rng: &mut Rng) {
        assert_eq!(self.state, State::Connected);
        let number = number(publish.payload);
        let content = &ledger.down[number].content;
        let mut topic = publish.topic;
        for property in publish.properties.iter() {
            if let Property::TopicAlias(alias) = property {
                let alias = &mut self.aliases_from_server[usize::from(alias) - 1];
                if topic.is_empty() {
                    topic = TOPICS[alias.unwrap()];
                } else {
                    *alias = TOPICS.iter().position(|name| *name == topic);
                }
            }
        }
        let sent = (TOPICS[content.topic], content.qos, &content.payload[..]);
        assert_eq!((topic, publish.qos, publish.payload), sent);
        ledger.arrived_down(number, publish.dup);
        let Some(id) = publish.packet_id else { return ledger.taken_down(number) };
        self.open.push(id);
        assert!(self.open.len() <= usize::from(self.receive_maximum));
        let known = self.received.iter().find(|(other, _)| *other == id);
        let mut reason = ReasonCode::SUCCESS;
        if let Some(&(_, before)) = known {
            assert_eq!(before, number, "packet identifier {id} is in use");
            assert_eq!(publish.qos, Qos::ExactlyOnce);
        } else if self.version >= Version::V5 && rng.chance(15) {
            ledger.down[number].refused += 1;
            reason = ReasonCode::NOT_AUTHORIZED;
        } else {
            ledger.taken_down(number);
            if publish.qos == Qos::ExactlyOnce {
                self.received.push((id, number));
            }
        }
        self.answers.push_back(Answer { id, qos: publish.qos, reason });
    }

    /// Sends the answer that has been due for longest.
    pub(crate) fn answer(&mut self) {
        let Some(Answer { id, qos, reason }) = self.answers.pop_front() else { return };
        let ack = Ack { reason, ..Ack::new(id) };
        if qos == Qos::AtLeastOnce || reason.is_error() {
            self.open.retain(|other| *other != id);
        }
        self.send(&if qos == Qos::AtLeastOnce { Packet::Puback(ack) } else { Packet::Pubrec(ack) });
    }

    /// PUBACK or PUBREC.
    fn receive_answer(&mut self, ack: &Ack<'_>, qos: Qos, ledger: &mut Ledger) {
        let message = self.in_flight.iter_mut().find(|message| message.id == ack.packet_id);
        let message = message.unwrap_or_else(|| panic!("nothing of this identifier: {ack:?}"));
        assert_eq!(message.qos, qos);
        if ack.reason.is_error() {
            assert!(!message.released);
            let message = self.complete(ack.packet_id);
            ledger.up[message.number].outcome = Some(UpOutcome::Refused);
        } else if qos == Qos::AtLeastOnce {
            let message = self.complete(ack.packet_id);
            ledger.up[message.number].outcome = Some(UpOutcome::Acknowledged);
        } else {
            message.released = true;
            self.send(&Packet::Pubrel(Ack::new(ack.packet_id)));
        }
        self.resend(ledger);
    }

    fn complete(&mut self, id: PacketId) -> InFlight {
        let index = self.in_flight.iter().position(|message| message.id == id);
        self.in_flight.remove(index.unwrap_or_else(|| panic!("nothing has identifier {id}")))
    }
}
