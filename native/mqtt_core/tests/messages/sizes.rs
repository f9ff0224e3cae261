//! The client's maximum packet size, and what it does not want to be told.

use crate::support::{QOS_0, QOS_1, Server, message, packet};
use mqtt_codec::{Place, Publish, ReasonCode};
use mqtt_core::{Delivery, Dropped, Fate};

/// A client that takes packets of 40 bytes.
const MAXIMUM_40: &[u8] = &[0x27, 0, 0, 0, 40];
/// A client that does not want to know of problems.
const NO_PROBLEMS: &[u8] = &[0x17, 0];

#[test]
fn a_message_that_is_too_large_is_dropped_mqtt_3_1_2_24_mqtt_3_1_2_25() {
    let mut server = Server::v5(MAXIMUM_40);
    // Two bytes of fixed header, three of topic, one for no properties.
    assert_eq!(server.sends(&message(QOS_0, &[0; 34]), 0).len(), 40);
    assert_eq!(
        server.publish(&message(QOS_0, &[0; 35]), 5),
        (Fate::Dropped(Dropped::PacketTooLarge), vec![])
    );
    assert_eq!(
        server.publish(&message(QOS_1, &[0; 33]), 6),
        (Fate::Dropped(Dropped::PacketTooLarge), vec![])
    );
    server.enqueue(&message(QOS_1, &[0; 33]), 7);
    server.enqueue(&message(QOS_1, &[0; 32]), 8);
    assert_eq!(server.pump().len(), 40);
    let too_large = Delivery::Dropped(Dropped::PacketTooLarge);
    assert_eq!(server.deliveries(), [5, 6, 7].map(|reference| (reference, too_large)));
    assert_eq!((server.session.under_way(), server.session.dropped()), (1, 3));
}

#[test]
fn a_message_that_fits_only_without_an_alias_has_none() {
    let mut server = Server::v5(&[MAXIMUM_40, &[0x22, 0, 1]].concat());
    assert_eq!(server.sends(&message(QOS_0, &[0; 34]), 0)[..6], [0x30, 38, 0, 1, b't', 0]);
    server.sends(&message(QOS_0, &[0; 31]), 0);
    // With an alias this topic is two bytes longer.
    assert_eq!(server.sends(&message(QOS_0, &[0; 33]), 0)[..6], [0x30, 37, 0, 1, b't', 0]);
}

/// A Reason String of 31 bytes.
fn reason_string() -> Vec<u8> {
    [&[0x1F, 0, 28][..], &[b'x'; 28]].concat()
}

#[test]
fn acknowledgements_have_the_texts_that_fit_mqtt_3_4_2_2_mqtt_3_5_2_2() {
    let reason = ReasonCode::NOT_AUTHORIZED;
    let text = reason_string();
    for (connect, shortened) in
        [(&[][..], false), (MAXIMUM_40, false), (&[0x27, 0, 0, 0, 36], true), (NO_PROBLEMS, true)]
    {
        let mut server = Server::v5(connect);
        for (first_byte, answer) in [(0x32, 0x40), (0x34, 0x50)] {
            server.message(&[first_byte, 6, 0, 1, b't', 0, 7, 0]);
            let whole = packet(answer, &[&[0, 7, 0x87, 31], &text[..]].concat());
            let expected = if shortened { vec![answer, 3, 0, 7, 0x87] } else { whole };
            assert_eq!(server.acknowledge(reason, &text), expected);
        }
    }
}

#[test]
fn mqtt_3_1_1_has_no_texts() {
    let mut server = Server::v3();
    server.message(&[0x32, 5, 0, 1, b't', 0, 7]);
    let puback = server.acknowledge(ReasonCode::SUCCESS, &reason_string());
    assert_eq!(puback, [0x40, 2, 0, 7]);
}

#[test]
fn suback_and_unsuback_have_the_texts_that_are_wanted_mqtt_3_1_2_29() {
    let text = reason_string();
    for (connect, wanted) in [(&[][..], true), (NO_PROBLEMS, false), (&[0x27, 0, 0, 0, 30], false)]
    {
        let Server { mut connection, mut session, .. } = Server::v5(connect);
        let properties = crate::support::properties(&text, Place::Suback);
        let id = mqtt_codec::PacketId::new(7).unwrap();
        let tail = if wanted { [&[31], &text[..], &[0x87]].concat() } else { vec![0, 0x87] };
        let mut output = Vec::new();
        connection.suback(id, &[0x87], properties, &mut session, &mut output).unwrap();
        assert_eq!(output, packet(0x90, &[&[0, 7], &tail[..]].concat()));
        output.clear();
        connection.unsuback(id, &[0x87], properties, &mut session, &mut output).unwrap();
        assert_eq!(output, packet(0xB0, &[&[0, 7], &tail[..]].concat()));
    }
}

#[test]
fn a_message_keeps_its_user_properties_mqtt_3_1_2_29() {
    let mut server = Server::v5(NO_PROBLEMS);
    let text = [0x26, 0, 1, b'a', 0, 1, b'b'];
    let properties = crate::support::properties(&text, Place::Publish);
    let sent = server.sends(&Publish { properties, ..message(QOS_0, b"") }, 0);
    assert_eq!(sent, packet(0x30, &[&[0, 1, b't', 7], &text[..]].concat()));
}

#[test]
fn disconnect_leaves_out_what_does_not_fit_mqtt_3_14_2_3() {
    let text = reason_string();
    let whole = packet(0xE0, &[&[0x8B, 31], &text[..]].concat());
    for (maximum, expected) in [(40, &whole[..]), (34, &[0xE0, 1, 0x8B])] {
        let mut server = Server::v5(&[0x27, 0, 0, 0, maximum]);
        let properties = crate::support::properties(&text, Place::Disconnect);
        let mut output = Vec::new();
        let reason = ReasonCode::SERVER_SHUTTING_DOWN;
        server.connection.disconnect(reason, properties, &mut output).unwrap();
        assert_eq!(output, expected);
        assert!(!server.connection.is_connected());
    }
}

#[test]
fn disconnect_has_no_session_expiry_mqtt_3_14_2_2() {
    let mut server = Server::v5(&[]);
    let properties = crate::support::properties(&[0x11, 0, 0, 0, 1], Place::Disconnect);
    let (reason, mut output) = (ReasonCode::SERVER_SHUTTING_DOWN, Vec::new());
    assert!(server.connection.disconnect(reason, properties, &mut output).is_err());
    assert_eq!(output, []);
}

#[test]
fn before_mqtt_5_the_server_goes_without_a_word() {
    let mut server = Server::v3();
    let (reason, mut output) = (ReasonCode::SERVER_SHUTTING_DOWN, Vec::new());
    let properties = mqtt_codec::Properties::EMPTY;
    server.connection.disconnect(reason, properties, &mut output).unwrap();
    assert_eq!(output, []);
    assert!(!server.connection.is_connected());
}
