//! Every error: its name, its statement, and how to meet it.

use crate::support::framed;
use mqtt_codec::{
    Ack, Decoder, Error, Packet, PacketId, PacketType, Properties, Publish, Qos, ReasonCode,
    SubscriptionOptions, SubscriptionsBuf, TopicFiltersBuf, Version,
};
use std::collections::HashSet;

use Version::{V3_1, V3_1_1, V5};

/// The errors of packets that cannot be written, which no bytes can bring about.
pub(crate) const ENCODE_ONLY: [Error; 3] =
    [Error::StringTooLong, Error::PacketIdentifierMismatch, Error::NotInThisVersion];

/// The errors that break no rule of the specification but a receiver's own limit.
const OF_LIMITS: [Error; 4] = [
    Error::TooManyTopicLevels,
    Error::TooManyFilterLevels,
    Error::TooManyTopicFilters,
    Error::TooManyUserProperties,
];

/// A CONNECT of that version from its connect flags on.
fn connect(version: Version, rest: &[u8]) -> Vec<u8> {
    let name = version.protocol_name().as_bytes();
    framed(0x10, &[&[0, name.len() as u8], name, &[version.level()], rest].concat())
}

fn bytes(wire: &[u8]) -> Vec<u8> {
    wire.to_vec()
}

/// For every error that can come out of decode, bytes that bring it about within default limits.
fn decode_rows() -> Vec<(Error, Version, Vec<u8>)> {
    vec![
        (Error::RemainingLengthTooLong, V3_1, bytes(&[0xC0, 0x80, 0x80, 0x80, 0x80])),
        (Error::OverlongInteger, V5, bytes(&[0xC0, 0x80, 0x00])),
        (Error::PacketTooLarge, V3_1_1, bytes(&[0x30, 0x80, 0x80, 0x40])),
        (Error::ReservedPacketType, V5, bytes(&[0x00])),
        (Error::ReservedFlags, V3_1_1, bytes(&[0x80])),
        (Error::InvalidQos, V3_1, bytes(&[0x36])),
        (Error::DupAtQos0, V3_1_1, bytes(&[0x38])),
        (Error::Truncated, V3_1_1, framed(0x40, &[0])),
        (Error::TrailingBytes, V3_1_1, framed(0x40, &[0, 1, 0])),
        (Error::InvalidUtf8, V3_1_1, framed(0x30, b"\0\x02\xC3\x28")),
        (Error::SurrogateInString, V3_1_1, framed(0x30, b"\0\x03\xED\xA0\x80")),
        (Error::OverlongUtf8, V3_1_1, framed(0x30, b"\0\x02\xC0\x80")),
        (Error::NulInString, V3_1_1, framed(0x30, b"\0\x02a\0")),
        (Error::UnknownProtocolName, V3_1_1, framed(0x10, b"\0\x04mqtt\x04\x02\0\0\0\0")),
        (Error::UnacceptableProtocol, V3_1_1, framed(0x10, b"\0\x04MQTT\x06\x02\0\0\0\0")),
        (Error::ReservedConnectFlag, V3_1_1, connect(V3_1_1, b"\x03\0\0\0\0")),
        (Error::WillFlagsWithoutWill, V3_1_1, connect(V3_1_1, b"\x22\0\0\0\0")),
        (Error::InvalidWillQos, V3_1_1, connect(V3_1, b"\x1E\0\0\0\0\0\x01w\0\0")),
        (Error::PasswordWithoutUsername, V3_1_1, connect(V3_1_1, b"\x42\0\0\0\0\0\0")),
        (Error::EmptyTopicName, V3_1_1, framed(0x30, &[0, 0])),
        (Error::WildcardInTopicName, V3_1_1, framed(0x30, b"\0\x03a/+")),
        (Error::EmptyTopicFilter, V3_1_1, framed(0xA2, &[0, 1, 0, 0])),
        (Error::MisplacedMultiLevelWildcard, V3_1_1, framed(0xA2, b"\0\x01\0\x03#/a")),
        (Error::MisplacedSingleLevelWildcard, V3_1_1, framed(0xA2, b"\0\x01\0\x02a+")),
        (Error::InvalidShareName, V5, framed(0xA2, b"\0\x01\0\0\x09$share//a")),
        (Error::NoLocalOnSharedSubscription, V5, framed(0x82, b"\0\x01\0\0\x0A$share/g/a\x04")),
        (Error::TooManyTopicLevels, V3_1_1, {
            framed(0x30, &[&[0, 128], &b"/".repeat(128)[..]].concat())
        }),
        (Error::TooManyFilterLevels, V3_1_1, {
            framed(0xA2, &[&[0, 1, 0, 128], &b"/".repeat(128)[..]].concat())
        }),
        (Error::NoTopicFilters, V3_1_1, framed(0x82, &[0, 1])),
        (Error::TooManyTopicFilters, V3_1_1, {
            framed(0xA2, &[&[0, 1], &[0, 1, b'a'].repeat(1025)[..]].concat())
        }),
        (Error::NoReasonCodes, V3_1_1, framed(0x90, &[0, 1])),
        (Error::ZeroPacketIdentifier, V3_1_1, framed(0x40, &[0, 0])),
        (Error::ReservedSubscriptionOptions, V5, framed(0x82, b"\0\x01\0\0\x01a\x40")),
        (Error::InvalidSubscriptionQos, V3_1_1, framed(0x82, b"\0\x01\0\x01a\x03")),
        (Error::InvalidRetainHandling, V5, framed(0x82, b"\0\x01\0\0\x01a\x30")),
        (Error::ReservedAcknowledgeFlags, V3_1_1, framed(0x20, &[2, 0])),
        (Error::SessionPresentOnRefusal, V3_1_1, framed(0x20, &[1, 5])),
        (Error::InvalidReasonCode, V3_1_1, framed(0x90, &[0, 1, 3])),
        (Error::UnknownProperty, V5, framed(0x30, &[0, 1, b't', 2, 0x04, 0])),
        (Error::PropertyNotAllowed, V5, framed(0x30, &[0, 1, b't', 3, 0x21, 0, 1])),
        (Error::DuplicateProperty, V5, framed(0x30, &[0, 1, b't', 4, 1, 0, 1, 0])),
        (Error::InvalidPropertyValue, V5, framed(0x30, &[0, 1, b't', 2, 1, 2])),
        (Error::TooManyUserProperties, V5, {
            framed(0xE0, &[&[0, 0xC5, 0x02], &[0x26, 0, 0, 0, 0].repeat(65)[..]].concat())
        }),
        (Error::AuthenticationDataWithoutMethod, V5, connect(V5, b"\x02\0\0\x03\x16\0\0\0\0")),
        (Error::AuthenticationMethodMissing, V5, framed(0xF0, &[0x18, 0])),
        (Error::ZeroTopicAlias, V5, framed(0x30, &[0, 0, 3, 0x23, 0, 0])),
    ]
}

/// For every error that only a packet of one's own can bring about, such a packet.
fn encode_rows() -> Vec<(Error, Result<(), Error>)> {
    let long = "x".repeat(65_536);
    let id = PacketId::MIN;
    let publish = Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: "t",
        packet_id: None,
        properties: Properties::EMPTY,
        payload: b"",
    };
    let no_local = SubscriptionOptions { no_local: true, ..SubscriptionOptions::default() };
    let refusal = Ack { reason: ReasonCode::NOT_AUTHORIZED, ..Ack::new(id) };
    let write = |packet: Packet<'_>| {
        let mut wire = Vec::new();
        let written = packet.encode(V3_1_1, &mut wire).map(drop);
        assert!(wire.is_empty(), "a packet that cannot be written is not begun");
        written
    };
    vec![
        (Error::StringTooLong, write(Packet::Publish(Publish { topic: &long, ..publish }))),
        (Error::StringTooLong, TopicFiltersBuf::default().push(&long)),
        (Error::PacketIdentifierMismatch, {
            write(Packet::Publish(Publish { packet_id: Some(id), ..publish }))
        }),
        (Error::PacketIdentifierMismatch, {
            write(Packet::Publish(Publish { qos: Qos::AtLeastOnce, ..publish }))
        }),
        (Error::NotInThisVersion, write(Packet::Puback(refusal))),
        (Error::NotInThisVersion, SubscriptionsBuf::new(V3_1_1).push("a", no_local)),
    ]
}

#[test]
fn every_error_of_decode_is_what_some_bytes_bring_about() {
    for (error, version, wire) in decode_rows() {
        assert_eq!(Decoder::new(version).decode(&wire), Err(error), "{wire:02X?}");
    }
}

#[test]
fn every_other_error_is_what_some_packet_brings_about() {
    for (error, written) in encode_rows() {
        assert_eq!(written, Err(error));
    }
}

#[test]
fn every_error_has_a_row() {
    let of_decode: HashSet<_> = decode_rows().into_iter().map(|(error, ..)| error).collect();
    let of_encode: HashSet<_> = encode_rows().into_iter().map(|(error, _)| error).collect();
    assert_eq!(of_encode, HashSet::from(ENCODE_ONLY));
    for error in Error::ALL {
        assert_ne!(of_decode.contains(error), of_encode.contains(error), "{error:?}");
    }
}

#[test]
fn names_are_in_snake_case_and_no_two_alike() {
    let names: HashSet<_> = Error::ALL.iter().map(|error| error.name()).collect();
    assert_eq!(names.len(), Error::ALL.len());
    for name in names {
        let word = |word: &str| {
            !word.is_empty()
                && word.chars().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
        };
        assert!(name.split('_').all(word), "{name}");
    }
}

/// `MQTT-3.1.2-1`, or the number of a section where the statement has none, or nothing where the
/// version has no such rule.
#[test]
fn statements_are_numbers_of_the_specification() {
    let section = |text: &str| {
        let parts: Vec<_> = text.split('.').map(str::parse::<u8>).collect();
        parts.len() >= 3 && parts.iter().all(Result::is_ok)
    };
    let well_formed = |statement: &str| match statement.strip_prefix("MQTT-") {
        Some(numbered) => numbered.rsplit_once('-').is_some_and(|(place, number)| {
            section(place) && place.split('.').count() == 3 && number.parse::<u8>().is_ok()
        }),
        None => statement.is_empty() || section(statement),
    };
    for error in Error::ALL {
        let statements = Version::ALL.map(|version| error.statement(version));
        assert!(statements.iter().all(|statement| well_formed(statement)), "{error:?}");
        let without = statements.iter().all(|statement| statement.is_empty());
        assert_eq!(without, OF_LIMITS.contains(error), "{error:?}");
    }
}

#[test]
fn an_error_is_answered_with_a_failure_that_a_server_may_send_mqtt_3_14_2_1() {
    for error in Error::ALL {
        let code = error.reason_code();
        let sendable = code.allowed_in(PacketType::Disconnect)
            || code.allowed_in(PacketType::Connack) && error.name().ends_with("protocol")
            || *error == Error::UnknownProtocolName;
        assert!(code.is_error() && sendable, "{error:?}");
    }
}
