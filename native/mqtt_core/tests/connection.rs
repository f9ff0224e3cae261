//! A connection, driven by bytes and a clock that is a number.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use mqtt_codec::{Error, Properties, ReasonCode, Version};
use mqtt_core::{
    Close, CommandError, Config, Connection, Event, Millis, Received, Session, SessionLimits,
    Violation,
};
use std::ops::{Deref, DerefMut};

const CONNECT: &[u8] = b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x3C\x00\x01c";
const CONNECT_3_1: &[u8] = b"\x10\x0F\x00\x06MQIsdp\x03\x02\x00\x3C\x00\x01c";

/// A packet of each type as MQTT 3.1.1 has it, with the name of what it is.
const PACKETS: [(&str, &[u8]); 14] = [
    ("CONNECT", CONNECT),
    ("CONNACK", &[0x20, 2, 0, 0]),
    ("PUBLISH", &[0x30, 3, 0, 1, b'a']),
    ("PUBACK", &[0x40, 2, 0, 1]),
    ("PUBREC", &[0x50, 2, 0, 1]),
    ("PUBREL", &[0x62, 2, 0, 1]),
    ("PUBCOMP", &[0x70, 2, 0, 1]),
    ("SUBSCRIBE", &[0x82, 6, 0, 1, 0, 1, b'a', 0]),
    ("SUBACK", &[0x90, 3, 0, 1, 0]),
    ("UNSUBSCRIBE", &[0xA2, 5, 0, 1, 0, 1, b'a']),
    ("UNSUBACK", &[0xB0, 2, 0, 1]),
    ("PINGREQ", &[0xC0, 0]),
    ("PINGRESP", &[0xD0, 0]),
    ("DISCONNECT", &[0xE0, 0]),
];

/// A connection and its session.
struct Client {
    connection: Connection,
    session: Session,
}

impl Client {
    fn new(config: Config) -> Self {
        let session = Session::new(SessionLimits::default());
        Self { connection: Connection::new(config, 0), session }
    }

    fn receive<'a>(
        &mut self,
        now: Millis,
        input: &'a [u8],
        output: &mut Vec<u8>,
    ) -> Result<Received<'a>, Close> {
        self.connection.receive(now, input, &mut self.session, output)
    }

    fn accept(&mut self, now: Millis, output: &mut Vec<u8>) -> Result<(), CommandError> {
        let clean = false;
        self.connection.accept(now, clean, None, Properties::EMPTY, &mut self.session, output)
    }

    fn reject(&mut self, code: ReasonCode, output: &mut Vec<u8>) -> Result<(), CommandError> {
        self.connection.reject(code, false, Properties::EMPTY, output)
    }
}

impl Deref for Client {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

fn fresh() -> Client {
    Client::new(Config::default())
}

fn deciding(connect: &[u8]) -> Client {
    let mut connection = fresh();
    let received = connection.receive(0, connect, &mut Vec::new()).unwrap();
    assert!(matches!(received, Received::Event(Event::Connect(_), _)));
    connection
}

fn connected() -> Client {
    let mut connection = deciding(CONNECT);
    connection.accept(0, &mut Vec::new()).unwrap();
    connection
}

/// The connection ends with `violation` and says `answer` before; then nothing is read any more.
fn refuses(mut connection: Client, wire: &[u8], violation: Violation, answer: &[u8]) {
    let mut output = Vec::new();
    let received = connection.receive(0, wire, &mut output);
    assert_eq!(received, Err(Close::ProtocolError(violation)), "{wire:02X?}");
    assert_eq!(output, answer);
    assert_eq!(connection.receive(0, CONNECT, &mut output), Ok(Received::Held));
    assert!(!connection.is_connected());
}

#[test]
fn a_connect_is_decided_and_answered_mqtt_3_1_4_4() {
    let mut connection = deciding(CONNECT);
    assert_eq!(connection.version(), Version::V3_1_1);
    let mut output = Vec::new();
    connection.accept(0, &mut output).unwrap();
    assert_eq!(output, [0x20, 2, 0, 0]);
    assert!(connection.is_connected());
    assert!(connection.accept(0, &mut output).is_err());
}

#[test]
fn session_present_is_said_from_3_1_1_on() {
    for (connect, flags) in [(CONNECT, 1), (CONNECT_3_1, 0)] {
        let mut output = Vec::new();
        let mut client = deciding(connect);
        client.accept(0, &mut output).unwrap();
        assert_eq!(output, [0x20, 2, 0, 0]);
        let mut again = deciding(connect);
        again.session = client.session;
        output.clear();
        again.accept(0, &mut output).unwrap();
        assert_eq!(output, [0x20, 2, flags, 0]);
    }
}

#[test]
fn nothing_is_read_before_the_decision_or_behind_a_refusal_mqtt_3_1_4_5() {
    let mut connection = deciding(CONNECT);
    let mut output = Vec::new();
    assert_eq!(connection.receive(0, &[0xC0, 0], &mut output), Ok(Received::Held));
    connection.reject(ReasonCode::NOT_AUTHORIZED, &mut output).unwrap();
    assert_eq!(output, [0x20, 2, 0, 5]);
    assert_eq!(connection.receive(0, &[0xC0, 0], &mut output), Ok(Received::Held));
    assert!(connection.accept(0, &mut output).is_err());
}

#[test]
fn the_first_packet_is_connect_mqtt_3_1_0_1() {
    for (name, wire) in PACKETS.into_iter().filter(|(name, _)| *name != "CONNECT") {
        let first_byte = wire.get(..1).unwrap();
        for wire in [wire, first_byte] {
            refuses(fresh(), wire, Violation::FirstPacketNotConnect, &[]);
        }
        assert!(!name.is_empty());
    }
    for first_byte in [0x00, 0xF0, b'G'] {
        refuses(fresh(), &[first_byte], Violation::FirstPacketNotConnect, &[]);
    }
}

#[test]
fn every_packet_once_connected() {
    for (name, wire) in PACKETS {
        let mut output = Vec::new();
        let received = connected().receive(0, wire, &mut output);
        let length = wire.len();
        match name {
            "CONNECT" => refuses(connected(), wire, Violation::SecondConnect, &[]),
            "PUBLISH" => {
                assert!(
                    matches!(received, Ok(Received::Event(Event::Publish(_), n)) if n == length)
                );
            }
            "SUBSCRIBE" => {
                assert!(
                    matches!(received, Ok(Received::Event(Event::Subscribe(_), n)) if n == length)
                );
            }
            "UNSUBSCRIBE" => {
                assert!(
                    matches!(received, Ok(Received::Event(Event::Unsubscribe(_), n)) if n == length)
                );
            }
            "PINGREQ" => assert_eq!(received, Ok(Received::Event(Event::Pingreq, 2))),
            "DISCONNECT" => {
                assert!(matches!(received, Ok(Received::Event(Event::Disconnect(_), 2))));
            }
            // Nobody knows what they acknowledge, which does no harm.
            "PUBACK" | "PUBREC" | "PUBREL" | "PUBCOMP" => {
                assert_eq!(received, Ok(Received::Handled(length)));
            }
            _ => refuses(connected(), wire, Violation::UnexpectedPacket, &[]),
        }
    }
}

#[test]
fn pingreq_is_answered_mqtt_3_12_4_1() {
    let mut output = Vec::new();
    connected().pingresp(&mut output);
    assert_eq!(output, [0xD0, 0]);
}

#[test]
fn nothing_is_read_behind_a_disconnect_mqtt_3_14_4_2() {
    let mut connection = connected();
    let mut output = Vec::new();
    connection.receive(0, &[0xE0, 0], &mut output).unwrap();
    assert_eq!(connection.receive(0, &[0xC0, 0], &mut output), Ok(Received::Held));
    assert_eq!(connection.check_time(u64::MAX), Ok(None));
    assert!(output.is_empty());
}

#[test]
fn levels_that_are_not_ours_get_return_code_1_mqtt_3_1_2_2() {
    let unacceptable = Violation::Packet(Error::UnacceptableProtocol);
    for level in [0, 3, 6, 0x7F, 0x84] {
        let mut wire = CONNECT.to_vec();
        *wire.get_mut(8).unwrap() = level;
        refuses(fresh(), &wire, unacceptable, &[0x20, 2, 0, 1]);
    }
}

#[test]
fn a_malformed_connect_gets_no_connack_mqtt_3_1_4_1() {
    let reserved_flag = b"\x10\x0D\x00\x04MQTT\x04\x03\x00\x3C\x00\x01c";
    refuses(fresh(), reserved_flag, Violation::Packet(Error::ReservedConnectFlag), &[]);
    let other_name = b"\x10\x0D\x00\x04MQTX\x04\x02\x00\x3C\x00\x01c";
    refuses(fresh(), other_name, Violation::Packet(Error::UnknownProtocolName), &[]);
}

#[test]
fn an_empty_client_identifier_needs_a_clean_session_mqtt_3_1_3_8() {
    let kept = b"\x10\x0C\x00\x04MQTT\x04\x00\x00\x3C\x00\x00";
    refuses(fresh(), kept, Violation::ClientIdentifierRequired, &[0x20, 2, 0, 2]);
    let in_3_1 = b"\x10\x0E\x00\x06MQIsdp\x03\x02\x00\x3C\x00\x00";
    refuses(fresh(), in_3_1, Violation::ClientIdentifierRequired, &[0x20, 2, 0, 2]);
    deciding(b"\x10\x0C\x00\x04MQTT\x04\x02\x00\x3C\x00\x00");
}

#[test]
fn connect_has_a_limit_of_its_own() {
    let size = CONNECT.len();
    let mut config = Config { connect_size: size, ..Config::default() };
    config.limits.packet_size = size - 1;
    let mut connection = Client::new(config);
    assert!(connection.receive(0, CONNECT, &mut Vec::new()).is_ok());
    connection.accept(0, &mut Vec::new()).unwrap();
    refuses(connection, &[0x30, size as u8 - 2], Violation::Packet(Error::PacketTooLarge), &[]);
    config.connect_size = size - 1;
    let by_its_header = CONNECT.get(..2).unwrap();
    let connection = Client::new(config);
    refuses(connection, by_its_header, Violation::Packet(Error::PacketTooLarge), &[]);
}

#[test]
fn connect_has_to_come_in_time() {
    let mut connection = fresh();
    assert_eq!(connection.check_time(0), Ok(Some(5_000)));
    // A part of it is not enough.
    let part = CONNECT.get(..9).unwrap();
    assert_eq!(connection.receive(4_000, part, &mut Vec::new()), Ok(Received::Incomplete(15)));
    assert_eq!(connection.check_time(4_999), Ok(Some(5_000)));
    assert_eq!(connection.check_time(5_000), Err(Close::ConnectTimeout));
    assert_eq!(deciding(CONNECT).check_time(u64::MAX), Ok(None));
}

#[test]
fn keep_alive_is_one_and_a_half_times_mqtt_3_1_2_24() {
    let mut connection = connected();
    assert_eq!(connection.check_time(0), Ok(Some(90_000)));
    connection.receive(10_000, &[0xC0, 0], &mut Vec::new()).unwrap();
    assert_eq!(connection.check_time(90_000), Ok(Some(100_000)));
    // Half a packet is no packet.
    connection.receive(50_000, &[0x30], &mut Vec::new()).unwrap();
    assert_eq!(connection.check_time(99_999), Ok(Some(100_000)));
    assert_eq!(connection.check_time(100_000), Err(Close::KeepAliveTimeout));
}

#[test]
fn a_part_of_a_large_packet_keeps_a_connection_alive_and_does_not_make_one() {
    let mut connection = connected();
    connection.progress(50_000);
    assert_eq!(connection.check_time(50_000), Ok(Some(140_000)));
    let mut connection = fresh();
    connection.progress(4_000);
    assert_eq!(connection.check_time(4_000), Ok(Some(5_000)));
}

#[test]
fn a_keep_alive_of_0_is_none_or_the_idle_timeout() {
    let mut wire = CONNECT.to_vec();
    *wire.get_mut(11).unwrap() = 0;
    for (idle_timeout, deadline) in [(None, None), (Some(1_000), Some(1_000))] {
        let config = Config { idle_timeout, ..Config::default() };
        let mut connection = Client::new(config);
        connection.receive(0, &wire, &mut Vec::new()).unwrap();
        connection.accept(0, &mut Vec::new()).unwrap();
        assert_eq!(connection.check_time(0), Ok(deadline));
    }
}
