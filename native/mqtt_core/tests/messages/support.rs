//! A client as bytes, and the server's connection and session.

use mqtt_codec::{Place, Properties, Publish, Qos, ReasonCode, Version};
use mqtt_core::{
    Close, Config, Connection, Delivery, Event, Fate, Millis, Received, Session, SessionLimits,
    Violation,
};

/// CONNECT of MQTT 3.1.1.
pub(crate) const CONNECT: &[u8] = b"\x10\x0D\x00\x04MQTT\x04\x00\x00\x3C\x00\x01c";

/// CONNECT of MQTT 5.0 with these properties.
pub(crate) fn connect_5(properties: &[u8]) -> Vec<u8> {
    let body =
        [b"\x00\x04MQTT\x05\x00\x00\x3C", &[properties.len() as u8][..], properties, b"\x00\x01c"]
            .concat();
    packet(0x10, &body)
}

/// A packet of that first byte around `body`.
pub(crate) fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[first_byte, body.len() as u8], body].concat()
}

/// Properties to be written, by their bytes.
pub(crate) fn properties(bytes: &[u8], place: Place) -> Properties<'_> {
    Properties::from_bytes(bytes, place).unwrap()
}

pub(crate) struct Server {
    pub(crate) connection: Connection,
    pub(crate) session: Session,
    pub(crate) now: Millis,
    /// Whether there is room for what is published.
    pub(crate) room: bool,
}

impl Server {
    /// A server that has read this CONNECT and decides.
    pub(crate) fn deciding(connect: &[u8], config: Config) -> Self {
        let session = Session::new(SessionLimits::default());
        let connection = Connection::new(config, 0);
        let mut server = Self { connection, session, now: 0, room: true };
        server.event(connect);
        server
    }

    /// A server that has accepted this CONNECT.
    pub(crate) fn new(connect: &[u8], config: Config) -> Self {
        let mut server = Self::deciding(connect, config);
        server.accept(false, &[]);
        server
    }

    pub(crate) fn v3() -> Self {
        Self::new(CONNECT, Config::default())
    }

    pub(crate) fn v5(properties: &[u8]) -> Self {
        Self::new(&connect_5(properties), Config::default())
    }

    /// Accepts and gives CONNACK.
    pub(crate) fn accept(&mut self, clean: bool, of_connack: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let properties = properties(of_connack, Place::Connack);
        self.connection
            .accept(self.now, clean, None, properties, &mut self.session, &mut output)
            .unwrap();
        output
    }

    /// The client is back over another connection, which is accepted.
    pub(crate) fn reconnect(&mut self, connect: &[u8], clean: bool) -> Vec<u8> {
        self.connection = Connection::new(Config::default(), self.now);
        self.event(connect);
        self.accept(clean, &[])
    }

    pub(crate) fn receive<'a>(
        &mut self,
        wire: &'a [u8],
        output: &mut Vec<u8>,
    ) -> Result<Received<'a>, Close> {
        self.connection.receive(self.now, wire, &mut self.session, output)
    }

    /// The packet is one for the application, and nothing is answered.
    pub(crate) fn event<'a>(&mut self, wire: &'a [u8]) -> Event<'a> {
        let mut output = Vec::new();
        match self.receive(wire, &mut output) {
            Ok(Received::Event(event, length)) if length == wire.len() => {
                assert_eq!(output, []);
                event
            }
            other => panic!("{other:?}"),
        }
    }

    /// The packet is a message for the application.
    pub(crate) fn message<'a>(&mut self, wire: &'a [u8]) -> Publish<'a> {
        match self.event(wire) {
            Event::Publish(publish) => publish,
            other => panic!("{other:?}"),
        }
    }

    /// The packet is not one for the application. Gives what is answered.
    pub(crate) fn handled(&mut self, wire: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        assert_eq!(self.receive(wire, &mut output), Ok(Received::Handled(wire.len())));
        output
    }

    /// The packet ends the connection, with `answer`.
    pub(crate) fn closes(&mut self, wire: &[u8], violation: Violation, answer: &[u8]) {
        let mut output = Vec::new();
        assert_eq!(self.receive(wire, &mut output), Err(Close::ProtocolError(violation)));
        assert_eq!(output, answer);
        assert!(!self.connection.is_connected());
    }

    /// The application answers a message. Gives PUBACK or PUBREC.
    pub(crate) fn acknowledge(&mut self, reason: ReasonCode, of_ack: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        let properties = properties(of_ack, Place::Puback);
        self.connection.acknowledge(reason, properties, &mut self.session, &mut output).unwrap();
        output
    }

    /// Publishes, and gives the packet, or nothing if it waits or is dropped.
    pub(crate) fn publish(&mut self, publish: &Publish<'_>, reference: u64) -> (Fate, Vec<u8>) {
        let mut output = Vec::new();
        let (now, room, session) = (self.now, self.room, &mut self.session);
        let fate = self.connection.publish(now, publish, reference, room, session, &mut output);
        let fate = fate.unwrap();
        if fate == Fate::Head {
            output.extend_from_slice(publish.payload);
        }
        (fate, output)
    }

    /// Publishes what goes out at once.
    pub(crate) fn sends(&mut self, publish: &Publish<'_>, reference: u64) -> Vec<u8> {
        let (fate, output) = self.publish(publish, reference);
        assert_eq!(fate, Fate::Head);
        output
    }

    pub(crate) fn enqueue(&mut self, publish: &Publish<'_>, reference: u64) {
        self.session.enqueue(publish, reference, self.now, false).unwrap();
    }

    /// What is due.
    pub(crate) fn pump(&mut self) -> Vec<u8> {
        let mut output = Vec::new();
        let more = self.connection.pump(self.now, &mut self.session, &mut output, usize::MAX);
        assert!(!more);
        output
    }

    /// What has become of messages with a reference.
    pub(crate) fn deliveries(&mut self) -> Vec<(u64, Delivery)> {
        std::iter::from_fn(|| self.session.next_delivery()).collect()
    }

    pub(crate) fn version(&self) -> Version {
        self.connection.version()
    }
}

/// A message of topic `t`.
pub(crate) fn message(qos: Qos, payload: &[u8]) -> Publish<'_> {
    let properties = Properties::EMPTY;
    Publish { dup: false, qos, retain: false, topic: "t", packet_id: None, properties, payload }
}

pub(crate) const QOS_0: Qos = Qos::AtMostOnce;
pub(crate) const QOS_1: Qos = Qos::AtLeastOnce;
pub(crate) const QOS_2: Qos = Qos::ExactlyOnce;
