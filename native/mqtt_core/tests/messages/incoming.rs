//! Messages from the client.

use crate::support::{CONNECT, Server, connect_5};
use mqtt_codec::ReasonCode;
use mqtt_core::{CommandError, Config, Connection, Received, Violation};

/// Messages of topic `t` and without payload, and acknowledgements, all with packet identifier 7.
const QOS_1: &[u8] = &[0x32, 5, 0, 1, b't', 0, 7];
const QOS_1_V5: &[u8] = &[0x32, 6, 0, 1, b't', 0, 7, 0];
const QOS_2: &[u8] = &[0x34, 5, 0, 1, b't', 0, 7];
const QOS_2_AGAIN: &[u8] = &[0x3C, 5, 0, 1, b't', 0, 7];
const QOS_2_V5: &[u8] = &[0x34, 6, 0, 1, b't', 0, 7, 0];
const PUBACK: &[u8] = &[0x40, 2, 0, 7];
const PUBREC: &[u8] = &[0x50, 2, 0, 7];
const PUBREL: &[u8] = &[0x62, 2, 0, 7];
const PUBCOMP: &[u8] = &[0x70, 2, 0, 7];

/// A message of QoS 1 or 2 with another packet identifier.
fn with_id(wire: &[u8], id: u8) -> Vec<u8> {
    let mut wire = wire.to_vec();
    wire[6] = id;
    wire
}

fn limited(connect: &[u8], receive_maximum: u16) -> Server {
    Server::new(connect, Config { receive_maximum, ..Config::default() })
}

#[test]
fn puback_follows_the_application_mqtt_4_3_2_4() {
    let mut server = Server::v3();
    server.message(QOS_1);
    assert_eq!(server.connection.unanswered(), 1);
    assert_eq!(server.acknowledge(ReasonCode::SUCCESS, &[]), PUBACK);
    assert_eq!(server.connection.unanswered(), 0);
}

#[test]
fn a_message_of_qos_0_is_not_acknowledged() {
    let mut server = Server::v3();
    server.message(&[0x30, 3, 0, 1, b't']);
    assert_eq!(server.connection.unanswered(), 0);
    let (session, properties) = (&mut server.session, mqtt_codec::Properties::EMPTY);
    let acknowledged =
        server.connection.acknowledge(ReasonCode::SUCCESS, properties, session, &mut Vec::new());
    assert_eq!(acknowledged, Err(CommandError::WrongState));
}

#[test]
fn acknowledgements_have_the_order_of_the_messages_mqtt_4_6_0_2_mqtt_4_6_0_3() {
    let mut server = Server::v3();
    server.message(QOS_2);
    server.message(&with_id(QOS_1, 8));
    assert_eq!(server.acknowledge(ReasonCode::SUCCESS, &[]), PUBREC);
    assert_eq!(server.acknowledge(ReasonCode::SUCCESS, &[]), [0x40, 2, 0, 8]);
}

#[test]
fn qos_2_has_four_steps_mqtt_4_3_3_8_mqtt_4_3_3_11() {
    for mut server in [Server::v3(), Server::v5(&[])] {
        let v5 = server.version() == mqtt_codec::Version::V5;
        server.message(if v5 { QOS_2_V5 } else { QOS_2 });
        assert_eq!(server.session.unreleased(), 1);
        assert_eq!(server.acknowledge(ReasonCode::SUCCESS, &[]), PUBREC);
        assert_eq!(server.handled(PUBREL), PUBCOMP);
        assert_eq!(server.session.unreleased(), 0);
        // The packet identifier is free again [MQTT-4.3.3-12].
        server.message(if v5 { QOS_2_V5 } else { QOS_2 });
    }
}

#[test]
fn a_duplicate_before_pubrel_is_not_for_the_application_mqtt_4_3_3_10() {
    let mut server = Server::v3();
    server.message(QOS_2);
    // Whether there will be a PUBREC is not known yet.
    assert_eq!(server.handled(QOS_2_AGAIN), []);
    assert_eq!(server.acknowledge(ReasonCode::SUCCESS, &[]), PUBREC);
    assert_eq!(server.handled(QOS_2_AGAIN), PUBREC);
    assert_eq!(server.handled(PUBREL), PUBCOMP);
    server.message(QOS_2_AGAIN);
}

#[test]
fn a_duplicate_on_the_next_connection_is_not_for_the_application_mqtt_4_3_3_10() {
    let mut server = Server::v3();
    server.message(QOS_2);
    server.acknowledge(ReasonCode::SUCCESS, &[]);
    server.reconnect(CONNECT, false);
    assert_eq!(server.handled(QOS_2_AGAIN), PUBREC);
    server.reconnect(CONNECT, false);
    assert_eq!(server.handled(PUBREL), PUBCOMP);
}

#[test]
fn what_was_not_answered_before_the_connection_ended_comes_again() {
    let mut server = Server::v3();
    server.message(QOS_2);
    server.reconnect(CONNECT, false);
    assert_eq!(server.session.unreleased(), 0);
    server.message(QOS_2_AGAIN);
}

#[test]
fn what_goes_its_way_without_the_connection_does_not_mqtt_4_3_3_10() {
    let mut server = Server::v3();
    server.message(QOS_2);
    server.connection.secure(&mut server.session);
    // It is answered when the application says so, as ever.
    assert_eq!(server.handled(QOS_2_AGAIN), []);
    server.reconnect(CONNECT, false);
    assert_eq!(server.handled(QOS_2_AGAIN), PUBREC);
    assert_eq!(server.handled(PUBREL), PUBCOMP);
}

#[test]
fn an_answer_after_the_connection_has_ended_counts() {
    let mut server = Server::v3();
    server.message(QOS_2);
    server.event(&[0xE0, 0]);
    server.acknowledge(ReasonCode::SUCCESS, &[]);
    server.reconnect(CONNECT, false);
    assert_eq!(server.handled(QOS_2_AGAIN), PUBREC);
}

/// The connection that was there before, with its message `QOS_2`, when the client is back.
fn abandoned(server: &mut Server, connect: &[u8], message: &[u8]) -> Connection {
    server.message(message);
    let next = Connection::new(Config::default(), 0);
    let before = std::mem::replace(&mut server.connection, next);
    server.event(connect);
    server.accept(false, &[]);
    before
}

fn answers_late(server: &mut Server, mut before: Connection, reason: ReasonCode) {
    let (session, properties) = (&mut server.session, mqtt_codec::Properties::EMPTY);
    before.acknowledge(reason, properties, session, &mut Vec::new()).unwrap();
}

#[test]
fn a_late_answer_is_about_the_message_of_then_mqtt_4_3_3_10() {
    let mut server = Server::v3();
    let before = abandoned(&mut server, CONNECT, QOS_2);
    assert_eq!(server.session.unreleased(), 0);
    answers_late(&mut server, before, ReasonCode::SUCCESS);
    assert_eq!(server.session.unreleased(), 1);
    assert_eq!(server.handled(QOS_2_AGAIN), PUBREC);
    assert_eq!(server.handled(PUBREL), PUBCOMP);
    server.message(QOS_2);
}

#[test]
fn a_late_answer_is_not_about_a_message_that_came_since_mqtt_4_3_3_12() {
    // The one of then was sent again, and is complete.
    let mut server = Server::v3();
    let before = abandoned(&mut server, CONNECT, QOS_2);
    server.message(QOS_2_AGAIN);
    server.acknowledge(ReasonCode::SUCCESS, &[]);
    assert_eq!(server.handled(PUBREL), PUBCOMP);
    answers_late(&mut server, before, ReasonCode::SUCCESS);
    server.message(QOS_2);

    // The session begins anew, or another connection comes between.
    for clean in [true, false] {
        let mut server = Server::v3();
        let before = abandoned(&mut server, CONNECT, QOS_2);
        server.reconnect(CONNECT, clean);
        answers_late(&mut server, before, ReasonCode::SUCCESS);
        server.message(QOS_2);
    }
}

#[test]
fn a_late_refusal_takes_back_only_what_it_is_about_mqtt_4_3_3_9() {
    let mut server = Server::v5(&[]);
    let before = abandoned(&mut server, &connect_5(&[]), QOS_2_V5);
    let mut again = QOS_2_V5.to_vec();
    again[0] = 0x3C;
    server.message(&again);
    server.acknowledge(ReasonCode::SUCCESS, &[]);
    answers_late(&mut server, before, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(server.handled(&again), PUBREC);
}

#[test]
fn a_refusal_ends_a_message_mqtt_4_3_3_9() {
    let mut server = limited(&connect_5(&[]), 1);
    server.message(QOS_2_V5);
    let refusal = server.acknowledge(ReasonCode::NOT_AUTHORIZED, &[]);
    assert_eq!(refusal, [0x50, 3, 0, 7, 0x87]);
    assert_eq!(server.session.unreleased(), 0);
    server.message(QOS_1_V5);
    let refusal = server.acknowledge(ReasonCode::QUOTA_EXCEEDED, &[]);
    assert_eq!(refusal, [0x40, 3, 0, 7, 0x97]);
    server.message(QOS_2_V5);
}

#[test]
fn mqtt_3_1_1_acknowledges_what_it_cannot_refuse_mqtt_3_3_5_2() {
    let mut server = Server::v3();
    server.message(QOS_1);
    assert_eq!(server.acknowledge(ReasonCode::NOT_AUTHORIZED, &[]), PUBACK);
    server.message(QOS_2);
    assert_eq!(server.acknowledge(ReasonCode::NOT_AUTHORIZED, &[]), PUBREC);
    assert_eq!(server.handled(QOS_2_AGAIN), PUBREC);
}

#[test]
fn a_reason_code_of_another_packet_is_not_sent_mqtt_3_4_2_1() {
    let mut server = Server::v5(&[]);
    server.message(QOS_1_V5);
    let (session, properties) = (&mut server.session, mqtt_codec::Properties::EMPTY);
    let (reason, mut output) = (ReasonCode::RE_AUTHENTICATE, Vec::new());
    let acknowledged = server.connection.acknowledge(reason, properties, session, &mut output);
    assert!(acknowledged.is_err() && output.is_empty());
    // An error is told as one that it has.
    assert_eq!(server.acknowledge(ReasonCode::SERVER_BUSY, &[]), [0x40, 3, 0, 7, 0x80]);
    server.message(QOS_2_V5);
    assert_eq!(server.acknowledge(ReasonCode::SERVER_BUSY, &[]), [0x50, 3, 0, 7, 0x80]);
    // So it is over, and the identifier is free.
    server.message(QOS_2_V5);
}

#[test]
fn a_message_that_was_claimed_does_not_come_again_mqtt_4_3_3_10() {
    let id = mqtt_codec::PacketId::new(7).unwrap();
    let mut server = Server::v3();
    assert!(!server.connection.claim(id, &mut server.session));
    server.message(QOS_2);
    assert!(server.connection.claim(id, &mut server.session));
    assert!(server.connection.claim(id, &mut server.session));
    let mut before = server.connection.clone();
    server.reconnect(CONNECT, false);
    assert_eq!(server.handled(QOS_2_AGAIN), PUBREC);
    assert!(!before.claim(id, &mut server.session));

    // One that was not claimed in time is the next connection's.
    let mut server = Server::v3();
    server.message(QOS_2);
    let mut before = server.connection.clone();
    server.reconnect(CONNECT, false);
    assert!(!before.claim(id, &mut server.session));
    server.message(QOS_2_AGAIN);
    assert!(!before.claim(id, &mut server.session));
    assert!(server.connection.claim(id, &mut server.session));
}

#[test]
fn an_unknown_pubrel_is_answered_mqtt_4_3_3_11() {
    assert_eq!(Server::v3().handled(PUBREL), PUBCOMP);
    assert_eq!(Server::v5(&[]).handled(PUBREL), [0x70, 3, 0, 7, 0x92]);
}

#[test]
fn a_pubrel_before_pubrec_is_none() {
    let mut server = Server::v5(&[]);
    server.message(QOS_2_V5);
    server.closes(PUBREL, Violation::UnexpectedPacket, &[0xE0, 1, 0x82]);
    // The message goes its way all the same.
    assert!(server.connection.claim(mqtt_codec::PacketId::new(7).unwrap(), &mut server.session));
}

#[test]
fn more_than_the_receive_maximum_ends_mqtt_5_mqtt_3_3_4_7() {
    let mut server = limited(&connect_5(&[]), 2);
    server.message(QOS_1_V5);
    server.message(&with_id(QOS_2_V5, 8));
    // QoS 0 does not count.
    server.message(&[0x30, 4, 0, 1, b't', 0]);
    let third = with_id(QOS_1_V5, 9);
    server.closes(&third, Violation::ReceiveMaximumExceeded, &[0xE0, 1, 0x93]);
}

#[test]
fn a_message_of_qos_2_counts_until_pubcomp_mqtt_3_3_4_7() {
    let mut server = limited(&connect_5(&[]), 1);
    server.message(QOS_2_V5);
    server.acknowledge(ReasonCode::SUCCESS, &[]);
    server.handled(PUBREL);
    server.message(QOS_2_V5);
    server.acknowledge(ReasonCode::SUCCESS, &[]);
    let second = with_id(QOS_1_V5, 8);
    server.closes(&second, Violation::ReceiveMaximumExceeded, &[0xE0, 1, 0x93]);
}

#[test]
fn mqtt_3_1_1_waits_for_the_application() {
    let mut server = limited(CONNECT, 1);
    server.message(QOS_1);
    let second = with_id(QOS_1, 8);
    assert_eq!(server.receive(&second, &mut Vec::new()), Ok(Received::Full));
    server.acknowledge(ReasonCode::SUCCESS, &[]);
    server.message(&second);
}
