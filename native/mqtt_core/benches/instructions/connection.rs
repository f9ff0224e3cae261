//! Steps of the state machine.

use crate::{BATCH, packets};
use mqtt_codec::{Properties, Qos, ReasonCode, Version};
use mqtt_core::{Config, Connection, Event, Fate, Received, Session, SessionLimits};
use std::hint::black_box;

/// A connection that has been accepted, and what it has to say.
struct Server {
    connection: Connection,
    session: Session,
    output: Vec<u8>,
}

impl Server {
    fn new(connect: &[u8]) -> Self {
        let mut server = Self {
            connection: Connection::new(Config::default(), 0),
            session: Session::new(SessionLimits::default()),
            output: Vec::new(),
        };
        server.receive(connect);
        let Self { connection, session, output } = &mut server;
        connection.accept(0, true, None, Properties::EMPTY, session, output).unwrap();
        server
    }

    fn connected(version: Version) -> Self {
        Self::new(&packets::connect(version))
    }

    /// Reads the packets of a buffer to its end.
    fn receive(&mut self, buffer: &[u8]) {
        let mut rest = black_box(buffer);
        let mut topic = "";
        loop {
            let Self { connection, session, output } = self;
            match &connection.receive_after(topic, 1, rest, session, output) {
                Ok(Received::Event(event, length)) => {
                    if let Event::Publish(publish) = event {
                        topic = publish.topic;
                    }
                    black_box(event);
                    rest = rest.get(*length..).unwrap();
                    if let Event::Connect(_) = event {
                        return;
                    }
                }
                Ok(Received::Handled(length)) => rest = rest.get(*length..).unwrap(),
                Ok(Received::Incomplete(_)) if rest.is_empty() => return,
                other => panic!("{other:?}"),
            }
        }
    }

    /// The application answers the messages of a batch.
    fn acknowledge(&mut self) {
        for _ in 0..BATCH {
            let Self { connection, session, output } = self;
            let reason = black_box(ReasonCode::SUCCESS);
            connection.acknowledge(reason, Properties::EMPTY, session, output).unwrap();
        }
    }

    fn flush(&mut self) {
        black_box(&self.output);
        self.output.clear();
    }
}

/// Messages of QoS 0 from the client.
pub(crate) fn receive_qos_0(messages: usize, version: Version) {
    let mut server = Server::connected(version);
    let wire =
        if version >= Version::V5 { packets::publish_64_v5() } else { packets::publish_64() };
    let buffer = wire.repeat(BATCH);
    for _ in 0..messages / BATCH {
        server.receive(&buffer);
        server.flush();
    }
}

/// Messages of QoS 1 from the client, each answered with PUBACK.
pub(crate) fn receive_qos_1(messages: usize, version: Version) {
    let mut server = Server::connected(version);
    let publishes = each(|id| packets::publish_with_id(version, Qos::AtLeastOnce, id));
    for _ in 0..messages / BATCH {
        server.receive(&publishes);
        server.acknowledge();
        server.flush();
    }
}

/// Messages of QoS 2 from the client, each answered with PUBREC, and its PUBREL with PUBCOMP.
pub(crate) fn receive_qos_2(messages: usize, version: Version) {
    let mut server = Server::connected(version);
    let publishes = each(|id| packets::publish_with_id(version, Qos::ExactlyOnce, id));
    let pubrels = each(|id| packets::ack(0x62, id));
    for _ in 0..messages / BATCH {
        server.receive(&publishes);
        server.acknowledge();
        server.receive(&pubrels);
        server.flush();
    }
}

/// Messages to the client, which answers each with acknowledgements of these first bytes.
pub(crate) fn send(messages: usize, version: Version, qos: Qos, answers: &[u8]) {
    let mut server = Server::connected(version);
    let publish = packets::message(qos, &[b'x'; 64]);
    let answers: Vec<_> = answers.iter().map(|&byte| each(|id| packets::ack(byte, id))).collect();
    for _ in 0..messages / BATCH {
        for _ in 0..BATCH {
            let Server { connection, session, output } = &mut server;
            let publish = black_box(&publish);
            let fate = connection.publish(1, publish, 0, true, session, output);
            assert_eq!(fate, Ok(Fate::Head));
        }
        for answer in &answers {
            server.receive(answer);
        }
        server.flush();
    }
    assert_eq!(server.session.under_way(), 0);
}

/// The same with messages that wait in the session before.
pub(crate) fn pump(messages: usize, version: Version, qos: Qos, answers: &[u8]) {
    let mut server = Server::connected(version);
    let publish = packets::message(qos, &[b'x'; 64]);
    let answers: Vec<_> = answers.iter().map(|&byte| each(|id| packets::ack(byte, id))).collect();
    for _ in 0..messages / BATCH {
        for _ in 0..BATCH {
            server.session.enqueue(black_box(&publish), 0, 1, true).unwrap();
        }
        let Server { connection, session, output } = &mut server;
        assert!(!connection.pump(1, session, output, usize::MAX));
        for answer in &answers {
            server.receive(answer);
        }
        server.flush();
    }
    assert_eq!(server.session.under_way(), 0);
}

/// New connections with new sessions, until CONNACK.
pub(crate) fn connect(messages: usize, version: Version) {
    let connect = packets::connect(version);
    for _ in 0..messages {
        black_box(Server::new(&connect));
    }
}

/// A buffer with a packet of each packet identifier of a batch.
fn each(packet: impl Fn(u16) -> Vec<u8>) -> Vec<u8> {
    (1..=BATCH as u16).flat_map(packet).collect()
}
