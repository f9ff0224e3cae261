//! The answer to CONNECT.

use crate::support::{CONNECT, Server, connect_5, packet};
use mqtt_codec::{Error, PacketId, Place, Properties, ReasonCode, Subscription, Version};
use mqtt_core::{Config, Event, Violation};

/// What the library says of itself: Receive Maximum, Maximum Packet Size, Topic Alias Maximum.
const OWN: &[u8] = &[0x21, 4, 0, 0x27, 0, 0x10, 0, 0, 0x22, 0, 16];

fn connack(properties: &[u8]) -> Vec<u8> {
    packet(0x20, &[&[0, 0, properties.len() as u8], properties].concat())
}

fn deciding(connect: &[u8]) -> Server {
    Server::deciding(connect, Config::default())
}

#[test]
fn the_library_says_what_the_application_does_not() {
    assert_eq!(deciding(CONNECT).accept(true, &[]), [0x20, 2, 0, 0]);
    assert_eq!(deciding(&connect_5(&[])).accept(true, &[]), connack(OWN));
    let config = Config { receive_maximum: u16::MAX, topic_alias_maximum: 0, ..Config::default() };
    let mut server = Server::deciding(&connect_5(&[]), config);
    assert_eq!(server.accept(true, &[]), connack(&OWN[3..8]));
}

#[test]
fn the_application_has_the_last_word() {
    let of_application = [0x22, 0, 1, 0x27, 0, 0, 0, 50, 0x21, 0, 1];
    let mut server = deciding(&connect_5(&[]));
    assert_eq!(server.accept(true, &of_application), connack(&of_application));
    // And it counts.
    server.message(&[0x32, 9, 0, 1, b't', 0, 7, 3, 0x23, 0, 1]);
    let mut other = Server::deciding(&connect_5(&[]), Config::default());
    other.accept(true, &of_application);
    let alias_2 = [0x30, 7, 0, 1, b't', 3, 0x23, 0, 2];
    other.closes(&alias_2, Violation::TopicAliasInvalid, &[0xE0, 1, 0x94]);
    let mut other = deciding(&connect_5(&[]));
    other.accept(true, &of_application);
    other.closes(&[0x30, 49], Violation::Packet(Error::PacketTooLarge), &[0xE0, 1, 0x95]);
    let second = [0x32, 6, 0, 1, b't', 0, 8, 0];
    server.closes(&second, Violation::ReceiveMaximumExceeded, &[0xE0, 1, 0x93]);
}

#[test]
fn server_keep_alive_replaces_the_clients_mqtt_3_1_2_21() {
    let mut server = deciding(&connect_5(&[]));
    server.accept(true, &[0x13, 0, 10]);
    assert_eq!(server.connection.check_time(0), Ok(Some(15_000)));
}

#[test]
fn the_servers_session_expiry_is_the_one_that_counts() {
    let mut server = deciding(&connect_5(&[0x11, 0, 0, 0, 9]));
    server.accept(true, &[0x11, 0, 0, 0, 3]);
    assert_eq!(server.session.expiry_interval(), 3);
}

#[test]
fn the_assigned_client_identifier_mqtt_3_2_2_16() {
    let Server { mut connection, mut session, .. } = deciding(&connect_5(&[]));
    let mut output = Vec::new();
    let properties = Properties::EMPTY;
    connection.accept(0, true, Some("id"), properties, &mut session, &mut output).unwrap();
    assert_eq!(output, connack(&[OWN, &[0x12, 0, 2, b'i', b'd']].concat()));
}

#[test]
fn response_information_is_for_those_who_ask_mqtt_3_1_2_28() {
    let information = [0x1A, 0, 1, b'r'];
    assert_eq!(deciding(&connect_5(&[])).accept(true, &information), connack(OWN));
    let asking = connect_5(&[0x19, 1]);
    let expected = connack(&[&information, OWN].concat());
    assert_eq!(deciding(&asking).accept(true, &information), expected);
}

#[test]
fn authentication_is_for_those_who_began_it_mqtt_4_12_0_6() {
    let method = [0x15, 0, 1, b'm'];
    assert_eq!(deciding(&connect_5(&[])).accept(true, &method), connack(OWN));
}

#[test]
fn texts_that_do_not_fit_are_left_out_mqtt_3_2_2_19_mqtt_3_2_2_20() {
    let texts = [0x1F, 0, 2, b'o', b'k', 0x26, 0, 1, b'a', 0, 1, b'b', 0x24, 1];
    let mut server = deciding(&connect_5(&[0x27, 0, 0, 0, 18]));
    assert_eq!(server.accept(true, &texts), connack(&[&texts[12..], OWN].concat()));
    let mut server = deciding(&connect_5(&[0x27, 0, 0, 0, 30]));
    assert_eq!(server.accept(true, &texts), connack(&[&texts, OWN].concat()));
}

#[test]
fn what_is_not_available_ends_the_connection() {
    let table: [(&[u8], &[u8], Violation, u8); 6] = [
        // [MQTT-3.2.2-11]
        (&[0x24, 0], &[0x32, 6, 0, 1, b't', 0, 7, 0], Violation::QosNotSupported, 0x9B),
        // [MQTT-3.2.2-14]
        (&[0x25, 0], &[0x31, 4, 0, 1, b't', 0], Violation::RetainNotSupported, 0x9A),
        (
            &[0x28, 0],
            &[0x82, 7, 0, 7, 0, 0, 1, b'#', 0],
            Violation::WildcardSubscriptionsNotSupported,
            0xA2,
        ),
        (
            &[0x29, 0],
            &[0x82, 9, 0, 7, 2, 0x0B, 1, 0, 1, b'a', 0],
            Violation::SubscriptionIdentifiersNotSupported,
            0xA1,
        ),
        (
            &[0x2A, 0],
            b"\x82\x10\x00\x07\x00\x00\x0A$share/a/b\x00",
            Violation::SharedSubscriptionsNotSupported,
            0x9E,
        ),
        (&[], &[0x20, 3, 0, 0, 0], Violation::UnexpectedPacket, 0x82),
    ];
    for (of_connack, wire, violation, code) in table {
        let mut server = deciding(&connect_5(&[]));
        server.accept(true, of_connack);
        server.closes(wire, violation, &[0xE0, 1, code]);
    }
    // What is available passes.
    let mut server = deciding(&connect_5(&[]));
    server.accept(true, &[0x28, 0]);
    match server.event(&[0x82, 7, 0, 7, 0, 0, 1, b'a', 0]) {
        Event::Subscribe(subscribe) => {
            assert_eq!(subscribe.packet_id, PacketId::new(7).unwrap());
            let filters: Vec<Subscription<'_>> = subscribe.subscriptions.iter().collect();
            assert_eq!(filters[0].filter, "a");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn wrong_properties_change_nothing() {
    let Server { mut connection, mut session, .. } = deciding(&connect_5(&[]));
    let topic_alias = crate::support::properties(&[0x23, 0, 1], Place::Publish);
    let mut output = Vec::new();
    let accepted = connection.accept(0, true, None, topic_alias, &mut session, &mut output);
    assert!(accepted.is_err() && output.is_empty() && !session.is_used());
    assert!(connection.reject(ReasonCode::BANNED, false, topic_alias, &mut output).is_err());
    connection.accept(0, true, None, Properties::EMPTY, &mut session, &mut output).unwrap();
}

fn reject(connect: &[u8], code: ReasonCode, exact: bool, of_connack: &[u8]) -> Vec<u8> {
    let mut server = deciding(connect);
    let properties = crate::support::properties(of_connack, Place::Connack);
    let mut output = Vec::new();
    server.connection.reject(code, exact, properties, &mut output).unwrap();
    assert!(!server.connection.is_connected());
    output
}

#[test]
fn each_version_has_its_codes_mqtt_3_2_2_8_mqtt_3_2_2_6() {
    let v5 = connect_5(&[]);
    for (code, old) in [(0x84, 1), (0x85, 2), (0x88, 3), (0x89, 3), (0x86, 4), (0x87, 5), (0x8A, 5)]
    {
        let code = ReasonCode(code);
        assert_eq!(reject(CONNECT, code, false, &[]), [0x20, 2, 0, old]);
        assert_eq!(reject(&v5, code, false, &[]), [0x20, 3, 0, code.0, 0]);
    }
    // Before MQTT 5.0 there is none for the others, and no CONNACK.
    assert_eq!(reject(CONNECT, ReasonCode::UNSPECIFIED_ERROR, false, &[]), []);
    // What CONNACK cannot say is said by the general one.
    for code in [ReasonCode::SUCCESS, ReasonCode::PACKET_IDENTIFIER_IN_USE] {
        assert_eq!(reject(&v5, code, false, &[]), [0x20, 3, 0, 0x80, 0]);
    }
    assert_eq!(reject(CONNECT, ReasonCode(0x2A), true, &[]), [0x20, 2, 0, 0x2A]);
}

#[test]
fn a_refusal_may_have_properties() {
    let text = [0x1F, 0, 2, b'n', b'o'];
    let whole = [&[0x20, 8, 0, 0x87, 5], &text[..]].concat();
    assert_eq!(reject(&connect_5(&[]), ReasonCode::NOT_AUTHORIZED, false, &text), whole);
    let small = connect_5(&[0x27, 0, 0, 0, 9]);
    assert_eq!(reject(&small, ReasonCode::NOT_AUTHORIZED, false, &text), [0x20, 3, 0, 0x87, 0]);
    assert_eq!(reject(CONNECT, ReasonCode::NOT_AUTHORIZED, false, &text), [0x20, 2, 0, 5]);
}

#[test]
fn the_version_is_the_one_of_connect() {
    assert_eq!(deciding(CONNECT).version(), Version::V3_1_1);
    assert_eq!(deciding(&connect_5(&[])).version(), Version::V5);
}
