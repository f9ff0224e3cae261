//! The two tables of the specification that are wide: which packet has which reason codes, and
//! which place which properties.

use crate::strategies::property::{OwnedProperty, PLACES, Row, rows};
use crate::strategies::reason::codes;
use crate::support::{framed, unlimited, varint};
use mqtt_codec::{Decoded, Error, PacketType, Place, Version};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// A packet of MQTT 5.0 with these bytes as the properties of that place, and nothing else to say.
fn with_properties(place: Place, properties: &[u8]) -> Vec<u8> {
    let (first_byte, before, behind): (u8, &[u8], &[u8]) = match place {
        Place::Connect => (0x10, b"\0\x04MQTT\x05\x02\0\0", b"\0\0"),
        Place::Will => (0x10, b"\0\x04MQTT\x05\x06\0\0\0\0\0", b"\0\x01w\0\0"),
        Place::Connack => (0x20, &[0, 0], &[]),
        Place::Publish => (0x30, &[0, 1, b't'], &[]),
        Place::Puback => (0x40, &[0, 1, 0], &[]),
        Place::Pubrec => (0x50, &[0, 1, 0], &[]),
        Place::Pubrel => (0x62, &[0, 1, 0], &[]),
        Place::Pubcomp => (0x70, &[0, 1, 0], &[]),
        Place::Subscribe => (0x82, &[0, 1], &[0, 1, b'a', 0]),
        Place::Suback => (0x90, &[0, 1], &[0]),
        Place::Unsubscribe => (0xA2, &[0, 1], &[0, 1, b'a']),
        Place::Unsuback => (0xB0, &[0, 1], &[0]),
        Place::Disconnect => (0xE0, &[0], &[]),
        Place::Auth => (0xF0, &[0x18], &[]),
    };
    let body = [before, &varint(properties.len()), properties, behind].concat();
    framed(first_byte, &body)
}

/// The wire form of one value of the row.
fn sample(row: &Row, runner: &mut TestRunner) -> Vec<u8> {
    row.values.new_tree(runner).unwrap().current().wire()
}

/// The Authentication Method, where a property or a place does not do without one.
fn method(row: &Row, place: Place) -> Vec<u8> {
    let wanted = row.id == 0x16 || place == Place::Auth && row.id != 0x15;
    let method = OwnedProperty::AuthenticationMethod("m".to_owned());
    if wanted { method.wire() } else { Vec::new() }
}

#[test]
fn a_property_stands_where_the_table_lets_it() {
    let mut runner = TestRunner::deterministic();
    for row in rows() {
        for place in PLACES {
            let properties = [method(&row, place), sample(&row, &mut runner)].concat();
            let wire = with_properties(place, &properties);
            let decoded = unlimited(Version::V5).decode(&wire);
            if row.places.contains(&place) {
                let fine =
                    matches!(decoded, Ok(Decoded::Packet(_, length)) if length == wire.len());
                assert!(fine, "{:02X} in {place:?}: {decoded:?}", row.id);
            } else {
                assert_eq!(decoded, Err(Error::PropertyNotAllowed), "{:02X} in {place:?}", row.id);
            }
        }
    }
}

#[test]
fn a_property_stands_twice_where_the_table_lets_it() {
    let mut runner = TestRunner::deterministic();
    for row in rows() {
        for &place in row.places {
            let twice = [sample(&row, &mut runner), sample(&row, &mut runner)].concat();
            let wire = with_properties(place, &[method(&row, place), twice].concat());
            let decoded = unlimited(Version::V5).decode(&wire);
            // User Property anywhere, Subscription Identifier in what the server sends.
            if row.id == 0x26 || row.id == 0x0B && place == Place::Publish {
                assert!(decoded.is_ok(), "{:02X} in {place:?}: {decoded:?}", row.id);
            } else {
                assert_eq!(decoded, Err(Error::DuplicateProperty), "{:02X} in {place:?}", row.id);
            }
        }
    }
}

#[test]
fn no_other_identifier_is_a_property() {
    let known: Vec<_> = rows().iter().map(|row| row.id).collect();
    for id in (0..=u8::MAX).filter(|id| !known.contains(id)) {
        for place in PLACES {
            let wire = with_properties(place, &[id, 0, 0, 0, 0, 0, 0]);
            let decoded = unlimited(Version::V5).decode(&wire);
            assert_eq!(decoded, Err(Error::UnknownProperty), "{id:02X} in {place:?}");
        }
    }
}

#[test]
fn nothing_stands_behind_the_last_field_mqtt_4_13_1_1() {
    let ended = |place: &Place| {
        // The others end in a payload or in a list, which goes on.
        let open =
            [Place::Publish, Place::Subscribe, Place::Suback, Place::Unsubscribe, Place::Unsuback];
        !open.contains(place)
    };
    for place in PLACES.into_iter().filter(ended) {
        let properties: &[u8] = if place == Place::Auth { &[0x15, 0, 1, b'm'] } else { &[] };
        let mut wire = with_properties(place, properties);
        assert!(unlimited(Version::V5).decode(&wire).is_ok(), "{place:?}");
        wire.push(0);
        wire[1] += 1;
        let decoded = unlimited(Version::V5).decode(&wire);
        assert_eq!(decoded, Err(Error::TrailingBytes), "{place:?}");
    }
}

/// The packet with that code in it.
fn with_code(version: Version, packet_type: PacketType, code: u8) -> Vec<u8> {
    let v5 = version >= Version::V5;
    let first_byte = (packet_type as u8) << 4 | u8::from(packet_type == PacketType::Pubrel) << 1;
    let body = match packet_type {
        PacketType::Connack if v5 => vec![0, code, 0],
        PacketType::Connack => vec![0, code],
        PacketType::Suback | PacketType::Unsuback if v5 => vec![0, 1, 0, code],
        PacketType::Disconnect => vec![code],
        PacketType::Auth => vec![code, 4, 0x15, 0, 1, b'm'],
        _ => vec![0, 1, code],
    };
    framed(first_byte, &body)
}

fn taken(version: Version, packet_type: PacketType) -> Vec<u8> {
    let is_taken =
        |&code: &u8| match unlimited(version).decode(&with_code(version, packet_type, code)) {
            Ok(Decoded::Packet(..)) => true,
            Err(Error::InvalidReasonCode) => false,
            other => panic!("{other:?} for {code:02X} in {packet_type:?}"),
        };
    (0..=u8::MAX).filter(is_taken).collect()
}

macro_rules! reason_codes {
    ($($test:ident $packet_type:ident;)+) => {
        $(#[test]
        fn $test() {
            let packet_type = PacketType::$packet_type;
            assert_eq!(taken(Version::V5, packet_type), codes(Version::V5, packet_type));
        })+
    };
}

reason_codes! {
    connack_has_its_own_codes_mqtt_3_2_2_8 Connack;
    puback_has_its_own_codes_mqtt_3_4_2_1 Puback;
    pubrec_has_its_own_codes_mqtt_3_5_2_1 Pubrec;
    pubrel_has_its_own_codes_mqtt_3_6_2_1 Pubrel;
    pubcomp_has_its_own_codes_mqtt_3_7_2_1 Pubcomp;
    suback_has_its_own_codes_mqtt_3_9_3_2 Suback;
    unsuback_has_its_own_codes_mqtt_3_11_3_2 Unsuback;
    disconnect_has_its_own_codes_mqtt_3_14_2_1 Disconnect;
    auth_has_its_own_codes_mqtt_3_15_2_1 Auth;
}

#[test]
fn suback_had_four_codes_before_mqtt_5_mqtt_3_9_3_2() {
    for version in [Version::V3_1, Version::V3_1_1] {
        assert_eq!(taken(version, PacketType::Suback), codes(version, PacketType::Suback));
    }
}
