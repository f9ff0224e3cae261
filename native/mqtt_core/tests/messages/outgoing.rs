//! Messages to the client.

use crate::support::{CONNECT, QOS_0, QOS_1, QOS_2, Server, message};
use mqtt_codec::{Place, Publish, ReasonCode};
use mqtt_core::{Config, Delivery, Dropped, Fate, Session, SessionLimits, Violation};

/// A client that takes one message of QoS 1 or 2 at once.
const RECEIVE_MAXIMUM_1: &[u8] = &[0x21, 0, 1];

#[test]
fn each_qos_on_the_wire() {
    let mut server = Server::v3();
    assert_eq!(server.sends(&message(QOS_0, b"x"), 0), [0x30, 4, 0, 1, b't', b'x']);
    assert_eq!(server.sends(&message(QOS_1, b"x"), 0), [0x32, 6, 0, 1, b't', 0, 1, b'x']);
    let retained = Publish { retain: true, ..message(QOS_2, b"") };
    assert_eq!(server.sends(&retained, 0), [0x35, 5, 0, 1, b't', 0, 2]);
    let mut server = Server::v5(&[]);
    assert_eq!(server.sends(&message(QOS_1, b"x"), 0), [0x32, 7, 0, 1, b't', 0, 1, 0, b'x']);
}

#[test]
fn dup_is_not_passed_on_mqtt_3_3_1_3() {
    let forwarded = Publish { dup: true, ..message(QOS_1, b"") };
    assert_eq!(Server::v3().sends(&forwarded, 0), [0x32, 5, 0, 1, b't', 0, 1]);
}

#[test]
fn puback_ends_a_message_mqtt_4_3_2_3() {
    let mut server = Server::v3();
    server.sends(&message(QOS_1, b""), 5);
    assert_eq!((server.session.under_way(), server.deliveries()), (1, vec![]));
    assert_eq!(server.handled(&[0x40, 2, 0, 1]), []);
    assert_eq!((server.session.under_way(), server.session.bytes()), (0, 0));
    assert_eq!(server.deliveries(), [(5, Delivery::Acknowledged)]);
}

#[test]
fn qos_2_has_four_steps_mqtt_4_3_3_4_mqtt_4_3_3_5() {
    let mut server = Server::v3();
    server.sends(&message(QOS_2, b""), 5);
    assert_eq!(server.handled(&[0x50, 2, 0, 1]), [0x62, 2, 0, 1]);
    assert_eq!(server.deliveries(), [(5, Delivery::Acknowledged)]);
    // PUBREC may come again.
    assert_eq!(server.handled(&[0x50, 2, 0, 1]), [0x62, 2, 0, 1]);
    assert_eq!(server.session.under_way(), 1);
    assert_eq!(server.handled(&[0x70, 2, 0, 1]), []);
    assert_eq!((server.session.under_way(), server.session.bytes()), (0, 0));
    assert_eq!(server.deliveries(), []);
}

#[test]
fn a_refusal_ends_a_message_mqtt_4_4_0_2() {
    let refused = Delivery::Refused(ReasonCode::NOT_AUTHORIZED);
    let mut server = Server::v5(RECEIVE_MAXIMUM_1);
    server.sends(&message(QOS_1, b""), 5);
    assert_eq!(server.handled(&[0x40, 3, 0, 1, 0x87]), []);
    server.sends(&message(QOS_2, b""), 6);
    assert_eq!(server.handled(&[0x50, 3, 0, 1, 0x87]), []);
    assert_eq!(server.deliveries(), [(5, refused), (6, refused)]);
    assert_eq!((server.session.under_way(), server.session.bytes()), (0, 0));
    // It has given back its place.
    server.sends(&message(QOS_2, b""), 7);
}

#[test]
fn acknowledgements_that_do_not_fit_end_the_connection() {
    for wire in [[0x50, 2, 0, 1], [0x70, 2, 0, 1]] {
        let mut server = Server::v5(&[]);
        server.sends(&message(QOS_1, b""), 0);
        server.closes(&wire, Violation::UnexpectedPacket, &[0xE0, 1, 0x82]);
    }
    for wire in [[0x40, 2, 0, 1], [0x70, 2, 0, 1]] {
        let mut server = Server::v5(&[]);
        server.sends(&message(QOS_2, b""), 0);
        server.closes(&wire, Violation::UnexpectedPacket, &[0xE0, 1, 0x82]);
    }
}

#[test]
fn an_unknown_pubrec_is_answered() {
    assert_eq!(Server::v3().handled(&[0x50, 2, 0, 9]), [0x62, 2, 0, 9]);
    assert_eq!(Server::v5(&[]).handled(&[0x50, 2, 0, 9]), [0x62, 3, 0, 9, 0x92]);
    // A refusal ends it, and what is not there has ended.
    assert_eq!(Server::v5(&[]).handled(&[0x50, 3, 0, 9, 0x87]), []);
}

#[test]
fn no_more_than_the_receive_maximum_is_sent_mqtt_3_3_4_9() {
    let mut server = Server::v5(RECEIVE_MAXIMUM_1);
    server.sends(&message(QOS_2, b"1"), 0);
    let (fate, output) = server.publish(&message(QOS_1, b"2"), 0);
    assert_eq!((fate, output, server.session.waiting()), (Fate::Waiting, vec![], 1));
    assert_eq!(server.pump(), []);
    // QoS 0 does not count.
    server.sends(&message(QOS_0, b""), 0);
    server.handled(&[0x50, 2, 0, 1]);
    assert_eq!(server.pump(), []);
    server.handled(&[0x70, 2, 0, 1]);
    assert_eq!(server.pump(), [0x32, 7, 0, 1, b't', 0, 1, 0, b'2']);
    assert_eq!((server.session.waiting(), server.session.under_way()), (0, 1));
}

#[test]
fn no_more_than_max_inflight_is_sent() {
    let mut server = Server::new(CONNECT, Config { max_inflight: 1, ..Config::default() });
    server.sends(&message(QOS_1, b""), 0);
    assert_eq!(server.publish(&message(QOS_1, b""), 0).0, Fate::Waiting);
}

#[test]
fn an_acknowledgement_of_nothing_gives_no_place_mqtt_3_3_4_9() {
    let mut server = Server::v5(RECEIVE_MAXIMUM_1);
    server.sends(&message(QOS_1, b""), 0);
    server.publish(&message(QOS_1, b""), 0);
    server.handled(&[0x40, 2, 0, 9]);
    assert_eq!(server.pump(), []);
}

#[test]
fn what_waits_keeps_its_order_mqtt_4_6_0_6() {
    let mut server = Server::v3();
    server.room = false;
    server.publish(&message(QOS_1, b"1"), 0);
    server.room = true;
    // There is room, but another one was first.
    assert_eq!(server.publish(&message(QOS_2, b"2"), 0).0, Fate::Waiting);
    let both = [0x32, 6, 0, 1, b't', 0, 1, b'1', 0x34, 6, 0, 1, b't', 0, 2, b'2'];
    assert_eq!(server.pump(), both);
}

#[test]
fn pump_stops_at_its_limit() {
    let mut server = Server::v3();
    for payload in [b"1", b"2"] {
        server.enqueue(&message(QOS_1, payload), 0);
    }
    let mut output = Vec::new();
    assert!(server.connection.pump(0, &mut server.session, &mut output, 1));
    assert_eq!(output, [0x32, 6, 0, 1, b't', 0, 1, b'1']);
    assert!(!server.connection.pump(0, &mut server.session, &mut output, 9));
    assert_eq!(output.len(), 16);
}

#[test]
fn qos_0_is_dropped_without_room_or_connection() {
    let mut server = Server::v3();
    server.room = false;
    assert_eq!(server.publish(&message(QOS_0, b""), 5).0, Fate::Dropped(Dropped::QueueFull));
    assert_eq!(server.deliveries(), [(5, Delivery::Dropped(Dropped::QueueFull))]);
    let enqueued = server.session.enqueue(&message(QOS_0, b""), 6, 0, false);
    assert_eq!(enqueued, Err(Dropped::NotConnected));
    assert_eq!((server.deliveries(), server.session.dropped()), (vec![], 2));
}

#[test]
fn a_session_has_its_limits() {
    for (messages, bytes) in [(2, 9999), (9999, 250)] {
        let mut server = Server::v3();
        server.session =
            Session::new(SessionLimits { messages, bytes, ..SessionLimits::default() });
        server.sends(&message(QOS_1, b""), 1);
        server.room = false;
        assert_eq!(server.publish(&message(QOS_1, b""), 2).0, Fate::Waiting);
        assert_eq!(server.session.room(), 0);
        assert_eq!(server.publish(&message(QOS_1, b""), 3).0, Fate::Dropped(Dropped::QueueFull));
        assert_eq!(
            server.session.enqueue(&message(QOS_1, b""), 4, 0, false),
            Err(Dropped::QueueFull)
        );
        assert_eq!(server.deliveries(), [(3, Delivery::Dropped(Dropped::QueueFull))]);
        server.handled(&[0x40, 2, 0, 1]);
        assert_eq!(server.publish(&message(QOS_1, b""), 5).0, Fate::Waiting);
    }
}

#[test]
fn what_waits_longest_makes_place_if_the_session_says_so() {
    let mut server = Server::v3();
    let limits = SessionLimits { messages: 3, drop_oldest: true, ..SessionLimits::default() };
    server.session = Session::new(limits);
    server.sends(&message(QOS_1, b"under way"), 1);
    server.room = false;
    for (payload, reference) in [(b"a", 2), (b"b", 3), (b"c", 4)] {
        assert_eq!(server.publish(&message(QOS_1, payload), reference).0, Fate::Waiting);
    }
    assert_eq!(server.deliveries(), [(2, Delivery::Dropped(Dropped::QueueFull))]);
    server.enqueue(&message(QOS_1, b"d"), 5);
    assert_eq!(server.deliveries(), [(3, Delivery::Dropped(Dropped::QueueFull))]);
    assert_eq!((server.session.waiting(), server.session.under_way()), (2, 1));
    // What is under way is not dropped, so with nothing else a new one is.
    let limits = SessionLimits { messages: 1, drop_oldest: true, ..SessionLimits::default() };
    let mut server = Server::v3();
    server.session = Session::new(limits);
    server.sends(&message(QOS_1, b"under way"), 1);
    let fate = server.publish(&message(QOS_1, b"new"), 2).0;
    assert_eq!(fate, Fate::Dropped(Dropped::QueueFull));
}

/// A Message Expiry Interval of ten seconds.
const TEN_SECONDS: &[u8] = &[2, 0, 0, 0, 10];

fn expiring(payload: &[u8]) -> Publish<'_> {
    let properties = crate::support::properties(TEN_SECONDS, Place::Publish);
    Publish { properties, ..message(QOS_1, payload) }
}

#[test]
fn a_message_ages_by_the_second() {
    let message_of = |publish: &Publish<'_>| mqtt_core::Message::new(publish, 0, 0);
    let aged = |now| message_of(&expiring(b"")).has_aged(now);
    assert_eq!([0, 999, 1_000, 20_000].map(aged), [false, false, true, true]);
    assert!(!message_of(&message(QOS_1, b"")).has_aged(20_000));
}

#[test]
fn message_expiry_is_counted_down_mqtt_3_3_2_6() {
    let mut server = Server::v5(&[]);
    let at_once = server.sends(&expiring(b""), 0);
    assert_eq!(at_once, [&[0x32, 11, 0, 1, b't', 0, 1, 5], TEN_SECONDS].concat());
    server.enqueue(&expiring(b""), 0);
    server.now = 2_500;
    assert_eq!(server.pump(), [0x32, 11, 0, 1, b't', 0, 2, 5, 2, 0, 0, 0, 8]);
}

#[test]
fn what_has_expired_is_not_sent_mqtt_3_3_2_5() {
    // Also to a client of MQTT 3.1.1, which does not see the interval.
    for mut server in [Server::v3(), Server::v5(&[])] {
        server.room = false;
        server.publish(&expiring(b""), 5);
        server.publish(&message(QOS_0, b""), 0);
        server.publish(&message(QOS_1, b"x"), 6);
        server.now = 10_000;
        assert_eq!(server.pump().last(), Some(&b'x'));
        assert_eq!(server.deliveries(), [(5, Delivery::Dropped(Dropped::Expired))]);
        assert_eq!((server.session.waiting(), server.session.under_way()), (0, 1));
    }
}

#[test]
fn what_has_expired_makes_place() {
    let mut server = Server::v3();
    let limits = SessionLimits { messages: 1, ..SessionLimits::default() };
    server.session = Session::new(limits);
    server.enqueue(&expiring(b""), 0);
    server.now = 10_000;
    server.enqueue(&message(QOS_1, b""), 0);
    assert_eq!((server.session.waiting(), server.session.dropped()), (1, 1));
}

#[test]
fn what_has_expired_makes_place_behind_others_too() {
    for drop_oldest in [false, true] {
        let mut server = Server::v3();
        let limits = SessionLimits { messages: 2, drop_oldest, ..SessionLimits::default() };
        server.session = Session::new(limits);
        server.enqueue(&message(QOS_1, b"stays"), 0);
        server.enqueue(&expiring(b""), 7);
        server.now = 10_000;
        server.enqueue(&message(QOS_1, b"comes"), 0);
        assert_eq!((server.session.waiting(), server.session.dropped()), (2, 1));
        assert_eq!(server.deliveries(), [(7, Delivery::Dropped(Dropped::Expired))]);
        assert!(server.pump().windows(5).any(|part| part == b"stays"));
    }
}
