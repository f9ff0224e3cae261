//! Topic aliases, in both directions.

use crate::support::{QOS_0, QOS_1, Server, connect_5, message};
use mqtt_codec::Publish;
use mqtt_core::{Config, Violation};

/// A message of QoS 0 from the client, with an alias.
fn aliased(topic: &[u8], alias: u8) -> Vec<u8> {
    let body = [&[0, topic.len() as u8], topic, &[3, 0x23, 0, alias]].concat();
    crate::support::packet(0x30, &body)
}

fn two_aliases() -> Server {
    Server::new(&connect_5(&[]), Config { topic_alias_maximum: 2, ..Config::default() })
}

#[test]
fn an_alias_is_set_used_and_set_anew_mqtt_3_3_2_12() {
    let mut server = two_aliases();
    assert_eq!(server.message(&aliased(b"a", 2)).topic, "a");
    assert_eq!(server.message(&aliased(b"", 2)).topic, "");
    assert_eq!(server.connection.aliased_topic(), "a");
    server.message(&aliased(b"b", 2));
    server.message(&aliased(b"", 2));
    assert_eq!(server.connection.aliased_topic(), "b");
}

#[test]
fn a_duplicate_sets_its_alias_as_well_mqtt_3_3_2_12() {
    let mut server = two_aliases();
    server.message(&[0x34, 6, 0, 1, b'a', 0, 7, 0]);
    server.handled(&[0x3C, 9, 0, 1, b'b', 0, 7, 3, 0x23, 0, 1]);
    server.message(&aliased(b"", 1));
    assert_eq!(server.connection.aliased_topic(), "b");
}

#[test]
fn an_alias_above_the_maximum_mqtt_3_3_2_9() {
    let violation = Violation::TopicAliasInvalid;
    two_aliases().closes(&aliased(b"a", 3), violation, &[0xE0, 1, 0x94]);
    two_aliases().closes(&aliased(b"", 3), violation, &[0xE0, 1, 0x94]);
}

#[test]
fn an_alias_that_was_not_set() {
    two_aliases().closes(&aliased(b"", 1), Violation::UnknownTopicAlias, &[0xE0, 1, 0x82]);
    // It ends with its connection [MQTT-3.3.2-7].
    let mut server = two_aliases();
    server.message(&aliased(b"a", 1));
    server.reconnect(&connect_5(&[]), false);
    server.closes(&aliased(b"", 1), Violation::UnknownTopicAlias, &[0xE0, 1, 0x82]);
}

#[test]
fn a_subscription_identifier_from_a_client_mqtt_3_3_4_6() {
    let wire = [0x30, 6, 0, 1, b'a', 2, 0x0B, 1];
    let violation = Violation::SubscriptionIdentifierFromClient;
    Server::v5(&[]).closes(&wire, violation, &[0xE0, 1, 0x82]);
}

#[test]
fn the_least_recently_used_alias_makes_place_mqtt_3_1_2_26() {
    let mut server = Server::v5(&[0x22, 0, 2]);
    let mut send = |topic| server.sends(&Publish { topic, ..message(QOS_0, b"") }, 0);
    assert_eq!(send("a"), [0x30, 7, 0, 1, b'a', 3, 0x23, 0, 1]);
    assert_eq!(send("b"), [0x30, 7, 0, 1, b'b', 3, 0x23, 0, 2]);
    assert_eq!(send("a"), [0x30, 6, 0, 0, 3, 0x23, 0, 1]);
    assert_eq!(send("c"), [0x30, 7, 0, 1, b'c', 3, 0x23, 0, 2]);
    assert_eq!(send("b"), [0x30, 7, 0, 1, b'b', 3, 0x23, 0, 1]);
}

#[test]
fn a_client_that_takes_no_aliases_gets_none_mqtt_3_1_2_27() {
    let mut server = Server::v5(&[]);
    for _ in 0..2 {
        assert_eq!(server.sends(&message(QOS_0, b""), 0), [0x30, 4, 0, 1, b't', 0]);
    }
}

#[test]
fn what_is_sent_again_has_its_topic_in_full_first() {
    let connect = connect_5(&[0x22, 0, 1]);
    let mut server = Server::new(&connect, Config::default());
    server.sends(&message(QOS_1, b""), 0);
    let second = server.sends(&message(QOS_1, b""), 0);
    assert_eq!(second, [0x32, 8, 0, 0, 0, 2, 3, 0x23, 0, 1]);
    server.reconnect(&connect, false);
    let again =
        [&[0x3A, 9, 0, 1, b't', 0, 1, 3, 0x23, 0, 1][..], &[0x3A, 8, 0, 0, 0, 2, 3, 0x23, 0, 1]];
    assert_eq!(server.pump(), again.concat());
}

#[test]
fn an_alias_of_the_application_is_not_taken() {
    let mut server = Server::v5(&[0x22, 0, 1]);
    let properties = crate::support::properties(&[0x23, 0, 1], mqtt_codec::Place::Publish);
    let publish = Publish { properties, ..message(QOS_0, b"") };
    let (session, mut output) = (&mut server.session, Vec::new());
    assert!(server.connection.publish(0, &publish, 0, true, session, &mut output).is_err());
    assert_eq!(output, []);
}
