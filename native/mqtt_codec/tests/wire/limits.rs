//! What is too large is refused before it is there.

use crate::strategies::versioned_packet;
use crate::support::{encode, unlimited};
use mqtt_codec::{
    Decoded, Decoder, Error, FixedHeader, Limits, Packet, Properties, PropertiesBuf, Property,
    Publish, Qos, Version,
};
use proptest::prelude::*;

fn limited(version: Version, packet_size: usize) -> Decoder {
    Decoder { version, limits: Limits { packet_size, ..Limits::NONE } }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_packet_may_be_as_large_as_the_limit_and_no_larger_mqtt_3_1_2_24_mqtt_3_2_2_15(
        (version, owned) in versioned_packet(),
    ) {
        owned.lend(|packet| {
            let wire = encode(version, packet);
            let at_limit = limited(version, wire.len()).decode(&wire);
            prop_assert_eq!(at_limit, Ok(Decoded::Packet(*packet, wire.len())));
            let header = FixedHeader::decode(&wire, version).unwrap().unwrap().length;
            let over = limited(version, wire.len() - 1);
            for cut in 0..header {
                let decoded = over.decode(&wire[..cut]);
                prop_assert!(matches!(decoded, Ok(Decoded::Incomplete(_))), "{:?}", decoded);
            }
            for cut in [header, wire.len()] {
                prop_assert_eq!(over.decode(&wire[..cut]), Err(Error::PacketTooLarge));
            }
            Ok(())
        })?;
    }
}

fn publish<'a>(properties: Properties<'a>, payload: &'a [u8]) -> Packet<'a> {
    Packet::Publish(Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: "t",
        packet_id: None,
        properties,
        payload,
    })
}

#[test]
fn the_largest_packet_of_all_is_read_and_a_larger_one_is_not_written() {
    let largest = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
    for version in Version::ALL {
        let decoded = unlimited(version).decode(&largest);
        assert_eq!(decoded, Ok(Decoded::Incomplete(5 + 268_435_455)));
        let payload = vec![0; 268_435_455];
        let mut wire = Vec::new();
        let written = publish(Properties::EMPTY, &payload).encode(version, &mut wire);
        assert_eq!((written, wire.len()), (Err(Error::PacketTooLarge), 0));
    }
}

#[test]
fn as_many_levels_as_a_topic_has_room_for_are_fine_without_a_limit_mqtt_4_7_3_3() {
    for topic in ["/".repeat(65_534), "/".repeat(65_535)] {
        for version in Version::ALL {
            let mut packet = publish(Properties::EMPTY, b"");
            if let Packet::Publish(publish) = &mut packet {
                publish.topic = &topic;
            }
            let wire = encode(version, &packet);
            let decoded = unlimited(version).decode(&wire);
            assert_eq!(decoded, Ok(Decoded::Packet(packet, wire.len())));
        }
    }
}

#[test]
fn as_many_user_properties_as_a_packet_has_room_for_are_fine_without_a_limit() {
    let mut properties = PropertiesBuf::default();
    for _ in 0..70_000 {
        properties.push(&Property::UserProperty(("", ""))).unwrap();
    }
    let packet = publish(properties.as_properties(), b"x");
    let wire = encode(Version::V5, &packet);
    let decoded = unlimited(Version::V5).decode(&wire);
    assert_eq!(decoded, Ok(Decoded::Packet(packet, wire.len())));
}

#[test]
fn most_topic_filters() {
    for (first_byte, filter) in [(0x82, &[0, 1, b'a', 0][..]), (0xA2, &[0, 1, b'a'])] {
        for (count, taken) in [(3, true), (4, false)] {
            let body = [&[0, 1], &filter.repeat(count)[..]].concat();
            let wire = [&[first_byte, body.len() as u8], &body[..]].concat();
            let limits = Limits { topic_filters: 3, ..Limits::NONE };
            let decoded = Decoder { version: Version::V3_1_1, limits }.decode(&wire);
            if taken {
                assert!(decoded.is_ok());
            } else {
                assert_eq!(decoded, Err(Error::TooManyTopicFilters));
            }
        }
    }
}
