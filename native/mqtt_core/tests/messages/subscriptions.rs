//! What a session keeps of subscriptions.

use crate::support::{CONNECT, Server, connect_5, message};
use mqtt_codec::{PacketId, Properties, Publish, Qos};
use mqtt_core::{Config, Connection, Session, SessionLimits};

const SUBSCRIBE_A_B: &[u8] = &[0x82, 10, 0, 7, 0, 1, b'a', 2, 0, 1, b'b', 1];
const UNSUBSCRIBE_A: &[u8] = &[0xA2, 5, 0, 8, 0, 1, b'a'];

/// A server whose session keeps subscriptions.
fn keeping(connect: &[u8]) -> Server {
    let session = Session::with_subscriptions(SessionLimits::default());
    let connection = Connection::new(Config::default(), 0);
    let mut server = Server { connection, session, now: 0, room: true };
    server.event(connect);
    server.accept(false, &[]);
    server
}

fn suback(server: &mut Server, id: u16, codes: &[u8]) -> Vec<u8> {
    let (id, mut output) = (PacketId::new(id).unwrap(), Vec::new());
    let session = &mut server.session;
    server.connection.suback(id, codes, Properties::EMPTY, session, &mut output).unwrap();
    output
}

fn unsuback(server: &mut Server, id: u16, codes: &[u8]) -> Vec<u8> {
    let (id, mut output) = (PacketId::new(id).unwrap(), Vec::new());
    let session = &mut server.session;
    server.connection.unsuback(id, codes, Properties::EMPTY, session, &mut output).unwrap();
    output
}

/// The filters with the QoS that was granted.
fn kept(server: &Server) -> Vec<(&str, Qos)> {
    server.session.subscriptions().map(|(filter, granted)| (filter, granted.options.qos)).collect()
}

#[test]
fn what_was_granted_is_kept_mqtt_3_8_4_3() {
    let mut server = keeping(CONNECT);
    server.event(SUBSCRIBE_A_B);
    assert_eq!(kept(&server), []);
    assert_eq!(suback(&mut server, 7, &[1, 0x80]), [0x90, 4, 0, 7, 1, 0x80]);
    assert_eq!(kept(&server), [("a", Qos::AtLeastOnce)]);
    // It is replaced [MQTT-3.8.4-3].
    server.event(SUBSCRIBE_A_B);
    suback(&mut server, 7, &[2, 0]);
    assert_eq!(kept(&server), [("a", Qos::ExactlyOnce), ("b", Qos::AtMostOnce)]);
    server.reconnect(CONNECT, false);
    assert_eq!(kept(&server).len(), 2);
}

#[test]
fn a_reason_code_of_another_packet_is_not_sent_mqtt_3_9_3_2() {
    let mut server = keeping(&connect_5(&[]));
    server.event(&[0x82, 11, 0, 7, 0, 0, 1, b'a', 2, 0, 1, b'b', 1]);
    assert_eq!(suback(&mut server, 7, &[0x8A, 0x8F]), [0x90, 5, 0, 7, 0, 0x80, 0x8F]);
    assert_eq!(kept(&server), []);
    server.event(&[0xA2, 6, 0, 8, 0, 0, 1, b'a']);
    assert_eq!(unsuback(&mut server, 8, &[0x96]), [0xB0, 4, 0, 8, 0, 0x80]);
}

#[test]
fn what_is_revoked_goes_with_what_waits_of_it() {
    let mut server = keeping(CONNECT);
    server.event(SUBSCRIBE_A_B);
    suback(&mut server, 7, &[1, 1]);
    for topic in ["a", "b", "a"] {
        server.enqueue(&Publish { topic, ..message(Qos::AtLeastOnce, b"") }, 0);
    }
    assert!(server.session.revoke(|_| true).0.is_empty());
    let (revoked, of_groups) = server.session.revoke(|filter| filter != "a");
    assert_eq!(revoked, ["a"]);
    assert!(of_groups.is_empty());
    assert_eq!(kept(&server), [("b", Qos::AtLeastOnce)]);
    assert_eq!((server.session.waiting(), server.session.dropped()), (1, 2));
}

#[test]
fn what_waits_of_another_subscription_as_well_stays() {
    let mut server = keeping(&connect_5(&[]));
    server.event(&[0x82, 17, 0, 7, 0, 0, 3, b'a', b'/', b'#', 1, 0, 1, b'b', 1, 0, 1, b'+', 1]);
    suback(&mut server, 7, &[1, 1, 1]);
    for topic in ["a", "b", "a/1", "elsewhere/1"] {
        server.enqueue(&Publish { topic, ..message(Qos::AtLeastOnce, b"") }, 0);
    }
    let (revoked, _) = server.session.revoke(|filter| filter == "+");
    assert_eq!(revoked, ["a/#", "b"]);
    assert_eq!((server.session.waiting(), server.session.dropped()), (3, 1));
}

#[test]
fn with_its_options_and_its_identifier() {
    let mut server = keeping(&connect_5(&[]));
    server.event(&[0x82, 9, 0, 7, 2, 0x0B, 5, 0, 1, b'a', 0x2D]);
    suback(&mut server, 7, &[0]);
    let (_, granted) = server.session.subscriptions().next().unwrap();
    assert_eq!(granted.identifier, Some(5));
    assert!(granted.options.no_local && granted.options.retain_as_published);
    assert_eq!(granted.options.qos, Qos::AtMostOnce);
}

#[test]
fn unsubscribe_removes_it_mqtt_3_10_4_1() {
    let mut server = keeping(CONNECT);
    server.event(SUBSCRIBE_A_B);
    suback(&mut server, 7, &[0, 0]);
    server.event(UNSUBSCRIBE_A);
    assert_eq!(unsuback(&mut server, 8, &[0]), [0xB0, 2, 0, 8]);
    assert_eq!(kept(&server), [("b", Qos::AtMostOnce)]);
}

#[test]
fn an_unsubscribe_that_was_refused_removes_nothing() {
    let mut server = keeping(&connect_5(&[]));
    server.event(&[0x82, 7, 0, 7, 0, 0, 1, b'a', 0]);
    suback(&mut server, 7, &[0]);
    server.event(&[0xA2, 6, 0, 8, 0, 0, 1, b'a']);
    assert_eq!(unsuback(&mut server, 8, &[0x87]), [0xB0, 4, 0, 8, 0, 0x87]);
    assert_eq!(kept(&server), [("a", Qos::AtMostOnce)]);
}

#[test]
fn requests_may_be_answered_in_any_order() {
    let mut server = keeping(CONNECT);
    server.event(&[0x82, 6, 0, 1, 0, 1, b'a', 0]);
    server.event(&[0x82, 6, 0, 2, 0, 1, b'b', 0]);
    suback(&mut server, 2, &[0]);
    assert_eq!(kept(&server), [("b", Qos::AtMostOnce)]);
    suback(&mut server, 1, &[0]);
    assert_eq!(kept(&server).len(), 2);
}

#[test]
fn suback_has_one_failure_before_mqtt_5_mqtt_3_9_3_2() {
    let mut server = keeping(CONNECT);
    server.event(SUBSCRIBE_A_B);
    assert_eq!(suback(&mut server, 7, &[2, 0x87]), [0x90, 4, 0, 7, 2, 0x80]);
}

#[test]
fn clean_start_clears_them_mqtt_3_1_2_4() {
    let mut server = keeping(CONNECT);
    server.event(SUBSCRIBE_A_B);
    suback(&mut server, 7, &[0, 0]);
    server.reconnect(CONNECT, true);
    assert_eq!(kept(&server), []);
    assert!(server.session.keeps_subscriptions());
}

#[test]
fn a_session_that_keeps_none() {
    let mut server = Server::v3();
    server.session = Session::new(SessionLimits::default());
    server.event(SUBSCRIBE_A_B);
    assert_eq!(suback(&mut server, 7, &[0, 0]), [0x90, 4, 0, 7, 0, 0]);
    assert_eq!(kept(&server), []);
}

#[test]
fn a_session_has_room_for_so_many() {
    let mut server = Server::v3();
    let limits = SessionLimits { subscriptions: 1, ..SessionLimits::default() };
    server.session = Session::with_subscriptions(limits);
    server.event(SUBSCRIBE_A_B);
    assert_eq!(suback(&mut server, 7, &[0, 0]), [0x90, 4, 0, 7, 0, 0x80]);
    assert_eq!(kept(&server).len(), 1);
    // One that is there can be changed.
    server.event(SUBSCRIBE_A_B);
    assert_eq!(suback(&mut server, 7, &[1, 1]), [0x90, 4, 0, 7, 1, 0x80]);
}

#[test]
fn filters_have_sixteen_levels_on_average() {
    let limits = SessionLimits { subscriptions: 4, ..SessionLimits::default() };
    let mut session = Session::with_subscriptions(limits);
    let options = mqtt_codec::SubscriptionOptions::default();
    let mut subscribe =
        |filter: &str| session.subscribe(filter, mqtt_core::Granted { options, identifier: None });
    let deep = |first: &str, levels: usize| format!("{first}{}", "/a".repeat(levels - 1));
    assert!(subscribe(&deep("a", 63)));
    assert!(!subscribe(&deep("b", 2)));
    assert!(subscribe("b"));
    assert!(!subscribe("c"));
    session.unsubscribe(&deep("a", 63));
    session.subscribe(&deep("a", 60), mqtt_core::Granted { options, identifier: None });
    assert_eq!(session.subscriptions().count(), 2);
}
