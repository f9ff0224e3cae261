//! What is sent again, and what a session forgets.

use crate::support::{CONNECT, QOS_1, QOS_2, Server, connect_5, message, properties};
use mqtt_codec::{Place, Publish, Version};
use mqtt_core::{Delivery, Dropped};

#[test]
fn what_was_not_acknowledged_is_sent_again_in_order_mqtt_4_4_0_1_mqtt_3_3_1_1() {
    let mut server = Server::v3();
    for payload in [b"1", b"2", b"3"] {
        server.sends(&message(QOS_1, payload), 0);
    }
    server.handled(&[0x40, 2, 0, 1]);
    // Its identifier is that of the first one, and it is the last.
    server.sends(&message(QOS_1, b"4"), 0);
    server.enqueue(&message(QOS_1, b"5"), 0);
    assert_eq!(server.reconnect(CONNECT, false), [0x20, 2, 1, 0]);
    let again = [
        [0x3A, 6, 0, 1, b't', 0, 2, b'2'],
        [0x3A, 6, 0, 1, b't', 0, 3, b'3'],
        [0x3A, 6, 0, 1, b't', 0, 1, b'4'],
        [0x32, 6, 0, 1, b't', 0, 4, b'5'],
    ];
    assert_eq!(server.pump(), again.concat());
    assert_eq!(server.pump(), []);
}

#[test]
fn pubrel_is_sent_again_mqtt_4_4_0_1() {
    let mut server = Server::v3();
    server.sends(&message(QOS_2, b""), 0);
    server.handled(&[0x50, 2, 0, 1]);
    server.reconnect(CONNECT, false);
    assert_eq!(server.pump(), [0x62, 2, 0, 1]);
    server.handled(&[0x70, 2, 0, 1]);
    assert_eq!(server.session.under_way(), 0);
}

#[test]
fn what_is_sent_again_needs_a_place_in_the_quota_mqtt_3_3_4_9() {
    let mut server = Server::v5(&[]);
    for payload in [b"1", b"2"] {
        server.sends(&message(QOS_1, payload), 0);
    }
    server.reconnect(&connect_5(&[0x21, 0, 1]), false);
    assert_eq!(server.pump(), [0x3A, 7, 0, 1, b't', 0, 1, 0, b'1']);
    server.handled(&[0x40, 2, 0, 1]);
    assert_eq!(server.pump(), [0x3A, 7, 0, 1, b't', 0, 2, 0, b'2']);
}

#[test]
fn pubcomp_for_an_earlier_connection_gives_no_place_mqtt_3_3_4_9() {
    let mut server = Server::v5(&[]);
    server.sends(&message(QOS_2, b""), 0);
    server.handled(&[0x50, 2, 0, 1]);
    server.reconnect(&connect_5(&[0x21, 0, 1]), false);
    assert_eq!(server.pump(), [0x62, 2, 0, 1]);
    server.sends(&message(QOS_1, b""), 0);
    server.handled(&[0x70, 2, 0, 1]);
    server.enqueue(&message(QOS_1, b""), 0);
    assert_eq!(server.pump(), []);
}

#[test]
fn what_became_too_large_is_dropped_and_its_identifier_released() {
    let mut server = Server::v5(&[]);
    server.sends(&message(QOS_2, &[0; 50]), 5);
    server.sends(&message(QOS_1, &[0; 50]), 6);
    server.reconnect(&connect_5(&[0x27, 0, 0, 0, 40]), false);
    // The client may have the first one already.
    assert_eq!(server.pump(), [0x62, 2, 0, 1]);
    let too_large = Delivery::Dropped(Dropped::PacketTooLarge);
    assert_eq!(server.deliveries(), [(5, too_large), (6, too_large)]);
    assert_eq!((server.session.under_way(), server.session.bytes()), (1, 0));
    server.handled(&[0x70, 3, 0, 1, 0x92]);
    assert_eq!(server.session.under_way(), 0);
}

#[test]
fn what_was_sent_before_it_expired_is_sent_again_mqtt_3_3_2_5() {
    let mut server = Server::v5(&[]);
    let properties = properties(&[2, 0, 0, 0, 10], Place::Publish);
    server.sends(&Publish { properties, ..message(QOS_1, b"") }, 0);
    server.now = 20_000;
    server.reconnect(&connect_5(&[]), false);
    assert_eq!(server.pump(), [0x3A, 11, 0, 1, b't', 0, 1, 5, 2, 0, 0, 0, 0]);
}

#[test]
fn a_session_outlives_a_change_of_version() {
    let mut server = Server::v5(&[]);
    let properties = properties(&[1, 1], Place::Publish);
    server.sends(&Publish { properties, ..message(QOS_1, b"x") }, 0);
    server.reconnect(CONNECT, false);
    assert_eq!(server.version(), Version::V3_1_1);
    assert_eq!(server.pump(), [0x3A, 6, 0, 1, b't', 0, 1, b'x']);
    server.reconnect(&connect_5(&[]), false);
    assert_eq!(server.pump(), [0x3A, 9, 0, 1, b't', 0, 1, 2, 1, 1, b'x']);
}

#[test]
fn clean_start_forgets_all_mqtt_3_1_2_4() {
    let mut server = Server::v3();
    server.sends(&message(QOS_1, b""), 1);
    server.sends(&message(QOS_2, b""), 2);
    server.handled(&[0x50, 2, 0, 2]);
    server.enqueue(&message(QOS_1, b""), 3);
    server.enqueue(&message(QOS_1, b""), 0);
    server.message(&[0x34, 5, 0, 1, b't', 0, 7]);
    assert_eq!(server.reconnect(CONNECT, true), [0x20, 2, 0, 0]);
    assert_eq!(server.pump(), []);
    let session = &server.session;
    assert_eq!((session.under_way(), session.waiting(), session.unreleased()), (0, 0, 0));
    assert_eq!(session.bytes(), 0);
    // The client has the second one.
    assert_eq!(session.dropped(), 3);
    let discarded = Delivery::Dropped(Dropped::Discarded);
    let told = [(2, Delivery::Acknowledged), (1, discarded), (3, discarded)];
    assert_eq!(server.deliveries(), told);
    // Late acknowledgements of the session before mean nothing.
    assert_eq!(server.handled(&[0x40, 2, 0, 1]), []);
    assert_eq!(server.handled(&[0x70, 2, 0, 2]), []);
}

#[test]
fn a_session_is_kept_as_long_as_it_was_agreed() {
    assert_eq!(Server::v3().session.expiry_interval(), u32::MAX);
    let clean = b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x3C\x00\x01c";
    let mut server = Server::v3();
    server.reconnect(clean, true);
    assert_eq!(server.session.expiry_interval(), 0);
    assert_eq!(Server::v5(&[]).session.expiry_interval(), 0);
    assert_eq!(Server::v5(&[0x11, 0, 0, 0, 9]).session.expiry_interval(), 9);
}

#[test]
fn disconnect_may_change_the_session_expiry_but_not_raise_it_from_0() {
    let disconnect = [0xE0, 7, 0, 5, 0x11, 0, 0, 0, 5];
    let mut server = Server::v5(&[0x11, 0, 0, 0, 9]);
    server.event(&disconnect);
    assert_eq!(server.session.expiry_interval(), 5);
    let mut server = Server::v5(&[]);
    let violation = mqtt_core::Violation::SessionExpiryRaised;
    server.closes(&disconnect, violation, &[0xE0, 1, 0x82]);
    assert_eq!(server.session.expiry_interval(), 0);
}
