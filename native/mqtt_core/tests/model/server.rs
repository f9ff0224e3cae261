//! The server under test, its application, and an observer of what goes over its wire.

use crate::client::Client;
use crate::ledger::{Ledger, number};
use crate::rng::Rng;
use mqtt_codec::{
    Decoded, Decoder, Packet, PacketId, Properties, PropertiesBuf, Property, Publish, Qos,
    ReasonCode, Version,
};
use mqtt_core::{
    Config, Connection, Delivery, Dropped, Event, Fate, Millis, Received, Session, SessionLimits,
};
use std::collections::VecDeque;

/// A message of QoS 1 or 2 that was written, as far as the observer can tell.
#[derive(Debug)]
struct Sent {
    id: PacketId,
    number: usize,
    /// It was written on this connection, so that it counts.
    here: bool,
    /// PUBREC has come, or PUBREL was sent.
    recorded: bool,
    /// The client has not taken packets as large since.
    too_large: bool,
}

pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) limits: SessionLimits,
    pub(crate) connection: Connection,
    pub(crate) session: Session,
    /// Whether there is a link to the client.
    pub(crate) open: bool,
    /// Bytes from the client that are not read yet, and bytes to it that are not sent yet.
    pub(crate) input: Vec<u8>,
    pub(crate) output: Vec<u8>,
    /// Messages that the application has not answered.
    unanswered: VecDeque<usize>,
    sent: Vec<Sent>,
    /// The last message of QoS 1 or 2 on this connection.
    last_sent: Option<usize>,
    /// Of the client: what it said in CONNECT.
    version: Version,
    maximum_packet_size: usize,
    window: usize,
    problem_information: bool,
    /// The application ends the session at the next CONNECT, whatever the client asks for.
    pub(crate) forgets: bool,
}

impl Server {
    pub(crate) fn new(config: Config, limits: SessionLimits) -> Self {
        Self {
            config,
            limits,
            connection: Connection::new(config, 0),
            session: Session::new(limits),
            open: false,
            input: Vec::new(),
            output: Vec::new(),
            unanswered: VecDeque::new(),
            sent: Vec::new(),
            last_sent: None,
            version: Version::V5,
            maximum_packet_size: usize::MAX,
            window: 0,
            problem_information: true,
            forgets: false,
        }
    }

    /// A connection begins, from a client that will say this of itself.
    pub(crate) fn begin(&mut self, now: Millis, client: &Client) {
        self.connection = Connection::new(self.config, now);
        self.open = true;
        self.unanswered.clear();
        self.version = client.version;
        self.maximum_packet_size = client.maximum_packet_size.unwrap_or(usize::MAX);
        self.window = usize::from(client.receive_maximum.min(self.config.max_inflight));
        self.problem_information = client.problem_information;
    }

    /// The connection is gone; the application may yet answer.
    pub(crate) fn lose(&mut self, ledger: &mut Ledger) {
        self.open = false;
        self.session.disconnect();
        self.check(ledger);
        self.input.clear();
        self.output.clear();
    }

    /// Reads the packets that are there.
    pub(crate) fn read(&mut self, now: Millis, ledger: &mut Ledger) {
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while self.open {
            let mut output = Vec::new();
            let rest = &input[at..];
            let received = self.connection.receive(now, rest, &mut self.session, &mut output);
            match received.unwrap_or_else(|close| panic!("the server closes: {close}")) {
                Received::Event(event, length) => {
                    at += length;
                    self.handle(now, &event, ledger, &mut output);
                }
                Received::Handled(length) => {
                    let packet = decode(self.version, &rest[..length]);
                    self.observe_input(&packet, ledger);
                    at += length;
                }
                Received::Incomplete(_) | Received::Held => break,
                Received::Full => {
                    assert!(self.version < Version::V5 && !self.unanswered.is_empty());
                    break;
                }
            }
            self.write(now, &output, ledger);
        }
        self.input = input;
        self.input.drain(..at);
    }

    fn handle(
        &mut self,
        now: Millis,
        event: &Event<'_>,
        ledger: &mut Ledger,
        output: &mut Vec<u8>,
    ) {
        match event {
            Event::Connect(connect) => {
                let clean = connect.clean_start || self.forgets;
                let (session, properties) = (&mut self.session, Properties::EMPTY);
                self.connection.accept(now, clean, None, properties, session, output).unwrap();
                self.last_sent = None;
                if clean {
                    self.sent.clear();
                }
                for sent in &mut self.sent {
                    let length = ledger.down[sent.number].content.packet_length(self.version);
                    sent.here = false;
                    sent.too_large |= length > self.maximum_packet_size;
                }
            }
            Event::Publish(publish) => {
                let number = number(publish.payload);
                let topic = if publish.topic.is_empty() {
                    self.connection.aliased_topic()
                } else {
                    publish.topic
                };
                ledger.arrived_up(number, topic, publish.qos);
                if publish.qos > Qos::AtMostOnce {
                    self.unanswered.push_back(number);
                }
            }
            Event::Disconnect(_) => self.open = false,
            other => panic!("{other:?}"),
        }
    }

    fn observe_input(&mut self, packet: &Packet<'_>, ledger: &Ledger) {
        match packet {
            Packet::Puback(ack) | Packet::Pubcomp(ack) => self.complete(ack.packet_id),
            Packet::Pubrec(ack) if ack.reason.is_error() => self.complete(ack.packet_id),
            Packet::Pubrec(ack) => self.entry(ack.packet_id).recorded = true,
            Packet::Pubrel(_) => {}
            // Handled without the application, which has it already.
            Packet::Publish(publish) => assert_eq!(ledger.up[number(publish.payload)].taken, 1),
            other => panic!("{other:?}"),
        }
    }

    fn entry(&mut self, id: PacketId) -> &mut Sent {
        let entry = self.sent.iter_mut().find(|sent| sent.id == id);
        entry.unwrap_or_else(|| panic!("nothing has identifier {id}"))
    }

    fn complete(&mut self, id: PacketId) {
        let index = self.sent.iter().position(|sent| sent.id == id);
        self.sent.remove(index.unwrap_or_else(|| panic!("nothing has identifier {id}")));
    }

    /// How many messages count against the client's Receive Maximum.
    fn counted(&self) -> usize {
        self.sent.iter().filter(|sent| sent.here).count()
    }

    /// Looks at what was written and puts it behind the rest.
    fn write(&mut self, now: Millis, output: &[u8], ledger: &mut Ledger) {
        let mut at = 0;
        while at < output.len() {
            let Ok(Decoded::Packet(packet, length)) =
                Decoder::new(self.version).decode(&output[at..])
            else {
                panic!("no packet: {:02X?}", &output[at..])
            };
            assert!(length <= self.maximum_packet_size, "{packet:?} has {length} bytes");
            self.observe_output(now, &packet, ledger);
            at += length;
        }
        self.output.extend_from_slice(output);
        self.check(ledger);
    }

    fn observe_output(&mut self, now: Millis, packet: &Packet<'_>, ledger: &mut Ledger) {
        match packet {
            Packet::Publish(publish) => self.observe_publish(now, publish, ledger),
            Packet::Puback(ack) | Packet::Pubrec(ack) => {
                assert!(self.problem_information || ack.properties.is_empty());
            }
            Packet::Pubrel(ack) => {
                assert_eq!(ack.reason, ReasonCode::SUCCESS);
                let entry = self.entry(ack.packet_id);
                let down = &ledger.down[entry.number];
                let recorded = std::mem::replace(&mut entry.recorded, true);
                assert_eq!(down.content.qos, Qos::ExactlyOnce);
                // One that cannot be sent again is given up.
                assert!(recorded || entry.too_large, "{down:?}");
            }
            Packet::Pubcomp(_) | Packet::Connack(_) => {}
            other => panic!("{other:?}"),
        }
    }

    fn observe_publish(&mut self, now: Millis, publish: &Publish<'_>, ledger: &mut Ledger) {
        let number = number(publish.payload);
        let down = &mut ledger.down[number];
        let interval = publish.properties.iter().find_map(|property| match property {
            Property::MessageExpiryInterval(seconds) => Some(Millis::from(seconds)),
            _ => None,
        });
        if let Some((_, expires)) = down.content.expiry {
            assert!(publish.dup || expires > now, "{number} has expired: {down:?}");
            if self.version >= Version::V5 {
                assert_eq!(interval, Some(expires.saturating_sub(now).div_ceil(1000)));
            }
        }
        assert_eq!(publish.dup, down.sent > 0, "{number} and DUP: {down:?}");
        down.sent += 1;
        let Some(id) = publish.packet_id else { return };
        assert!(self.last_sent < Some(number), "{number} goes behind {:?}", self.last_sent);
        self.last_sent = Some(number);
        self.give_up_before(number, ledger);
        if let Some(sent) = self.sent.iter_mut().find(|sent| sent.id == id) {
            assert_eq!(sent.number, number, "identifier {id} is in use");
            assert!(publish.dup && !sent.here && !sent.recorded);
            sent.here = true;
        } else {
            assert!(!publish.dup, "{number} is sent again with another identifier");
            self.sent.push(Sent { id, number, here: true, recorded: false, too_large: false });
        }
        assert!(self.counted() <= self.window, "too much at once: {:?}", self.sent);
    }

    /// A message was sent. Of those of earlier connections before it, the ones that were not sent
    /// again never will be: they were too large.
    fn give_up_before(&mut self, number: usize, ledger: &Ledger) {
        self.sent.retain(|sent| {
            if sent.number >= number || sent.here || sent.recorded {
                return true;
            }
            assert!(sent.too_large, "{sent:?} is left out");
            // The client may have one of QoS 2, so that PUBREL comes first.
            assert_eq!(ledger.down[sent.number].content.qos, Qos::AtLeastOnce);
            false
        });
    }

    /// Hears what has become of messages, and looks at what is always true.
    fn check(&mut self, ledger: &mut Ledger) {
        while let Some((reference, delivery)) = self.session.next_delivery() {
            let number = reference as usize - 1;
            ledger.told(number, delivery);
            if delivery == Delivery::Dropped(Dropped::PacketTooLarge) {
                let length = ledger.down[number].content.packet_length(self.version);
                assert!(length > self.maximum_packet_size, "{number} has only {length} bytes");
            }
        }
        let session = &self.session;
        // Of QoS 0 as many again may wait.
        assert!(session.under_way() + session.waiting() <= 2 * self.limits.messages);
        assert!(session.bytes() <= 2 * (self.limits.bytes + 256));
    }

    /// The application publishes a message.
    pub(crate) fn publish(&mut self, now: Millis, ledger: &mut Ledger, rng: &mut Rng) {
        let number = ledger.new_down(now, rng);
        let down = &ledger.down[number];
        let content = down.content.clone();
        let reference = if down.referenced { number as u64 + 1 } else { 0 };
        let properties = content.properties();
        let publish = content.publish(properties.as_properties());
        let connected = self.connection.is_connected() && self.open;
        if !connected || rng.chance(30) {
            if let Err(dropped) = self.session.enqueue(&publish, reference, now, connected) {
                if down.referenced {
                    ledger.told(number, Delivery::Dropped(dropped));
                }
                let expected = match content.qos {
                    Qos::AtMostOnce if !connected => Dropped::NotConnected,
                    _ => Dropped::QueueFull,
                };
                assert_eq!(dropped, expected);
            }
            return self.check(ledger);
        }
        let (room, mut output) = (rng.chance(80), Vec::new());
        let session = &mut self.session;
        let fate = self.connection.publish(now, &publish, reference, room, session, &mut output);
        match fate.unwrap() {
            Fate::Head => output.extend_from_slice(&content.payload),
            Fate::Waiting => assert!(content.qos > Qos::AtMostOnce),
            Fate::Dropped(_) => {}
        }
        self.write(now, &output, ledger);
        let dropped = matches!(ledger.down[number].outcome, Some(Delivery::Dropped(_)));
        assert!(reference == 0 || matches!(fate, Ok(Fate::Dropped(_))) == dropped);
    }

    /// Sends what is due. With a large limit, the client has as much as it takes then.
    pub(crate) fn pump(&mut self, now: Millis, limit: usize, ledger: &mut Ledger) {
        let mut output = Vec::new();
        let more = self.connection.pump(now, &mut self.session, &mut output, limit);
        self.write(now, &output, ledger);
        if self.open && self.connection.is_connected() && !more && self.session.waiting() > 0 {
            assert_eq!(self.counted(), self.window, "it could go on: {:?}", self.sent);
        }
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// The application answers the message that waits for longest, also when the connection is gone.
    pub(crate) fn answer(
        &mut self,
        now: Millis,
        refuses: bool,
        ledger: &mut Ledger,
        rng: &mut Rng,
    ) {
        assert_eq!(self.connection.unanswered(), self.unanswered.len());
        let Some(number) = self.unanswered.pop_front() else { return };
        let mut properties = PropertiesBuf::default();
        if rng.chance(20) {
            let text = "x".repeat(rng.below(60));
            properties.push(&Property::ReasonString(&text)).unwrap();
        }
        let reason = match rng.below(100) {
            0..15 if refuses => ReasonCode::QUOTA_EXCEEDED,
            0..30 => ReasonCode::NO_MATCHING_SUBSCRIBERS,
            _ => ReasonCode::SUCCESS,
        };
        let mut output = Vec::new();
        let properties = properties.as_properties();
        let session = &mut self.session;
        self.connection.acknowledge(reason, properties, session, &mut output).unwrap();
        if reason.is_error() && self.version >= Version::V5 {
            ledger.up[number].refused += 1;
        } else {
            ledger.taken_up(number);
        }
        if self.open {
            self.write(now, &output, ledger);
        }
    }
}

fn decode(version: Version, wire: &[u8]) -> Packet<'_> {
    match Decoder::new(version).decode(wire) {
        Ok(Decoded::Packet(packet, _)) => packet,
        other => panic!("{other:?}"),
    }
}
