//! What is written is what is read.

use crate::owned::{OwnedPacket, OwnedPublish};
use crate::strategies::property::rows;
use crate::strategies::{packet, versioned_packet};
use crate::support::{decode, encode, properties};
use mqtt_codec::{Packet, PacketType, Qos, Version};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::HashSet;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_packet_survives_the_wire((version, owned) in versioned_packet()) {
        owned.lend(|packet| {
            let wire = encode(version, packet);
            let (decoded, length) = decode(version, &wire);
            prop_assert_eq!(&decoded, packet);
            prop_assert_eq!(length, wire.len());
            prop_assert_eq!(encode(version, &decoded), wire);
            Ok(())
        })?;
    }

    #[test]
    fn every_property_is_read_as_it_was_written((version, owned) in versioned_packet()) {
        owned.lend(|packet| {
            let wire = encode(version, packet);
            let read = properties(&decode(version, &wire).0);
            for ((place, read), (_, written)) in read.iter().zip(properties(packet)) {
                prop_assert!(read.iter().eq(written.iter()), "{:?}: {:?}", place, read);
            }
            prop_assert_eq!(read.len(), properties(packet).len());
            Ok(())
        })?;
    }

    #[test]
    fn a_publish_is_its_head_and_its_payload((version, owned) in versioned_packet()) {
        owned.lend(|packet| {
            let Packet::Publish(publish) = packet else { return Ok(()) };
            let mut head = Vec::new();
            prop_assert_eq!(publish.encode_head(version, &mut head), Ok(head.len()));
            prop_assert_eq!([&head[..], publish.payload].concat(), encode(version, packet));
            Ok(())
        })?;
    }
}

#[test]
fn a_remaining_length_takes_as_few_bytes_as_can_be_mqtt_1_5_5_1() {
    let table = [(127, 1), (128, 2), (16_383, 2), (16_384, 3), (2_097_151, 3), (2_097_152, 4)];
    for version in Version::ALL {
        for (remaining_length, bytes) in table {
            let fields = if version >= Version::V5 { 4 } else { 3 };
            let owned = OwnedPacket::Publish(OwnedPublish {
                dup: false,
                qos: Qos::AtMostOnce,
                retain: false,
                topic: "t".to_owned(),
                packet_id: None,
                properties: Vec::new(),
                payload: vec![b'x'; remaining_length - fields],
            });
            owned.lend(|packet| {
                let wire = encode(version, packet);
                assert_eq!(wire.len(), 1 + bytes + remaining_length);
                assert_eq!(decode(version, &wire), (*packet, wire.len()));
            });
        }
    }
}

#[test]
fn connect_is_read_whatever_the_version_of_the_decoder() {
    let mut runner = TestRunner::deterministic();
    for version in Version::ALL {
        let connects = packet(version)
            .prop_filter("CONNECT", |packet| matches!(packet, OwnedPacket::Connect(_)));
        for _ in 0..20 {
            connects.new_tree(&mut runner).unwrap().current().lend(|packet| {
                let wire = encode(version, packet);
                for of_decoder in Version::ALL {
                    assert_eq!(decode(of_decoder, &wire), (*packet, wire.len()));
                }
            });
        }
    }
}

/// The tests are worth what the strategies reach.
#[test]
fn the_strategies_reach_every_packet_and_every_property_in_every_place() {
    let mut runner = TestRunner::deterministic();
    let (mut packets, mut found) = (HashSet::new(), HashSet::new());
    for version in Version::ALL {
        let strategy = packet(version);
        for _ in 0..600 {
            strategy.new_tree(&mut runner).unwrap().current().lend(|packet| {
                packets.insert((version, packet.packet_type()));
                for (place, properties) in properties(packet) {
                    found.extend(properties.iter().map(|it| (place as u16, it.id())));
                }
            });
        }
    }
    for first_byte in (0x10..=0xF0).step_by(0x10) {
        let packet_type = PacketType::from_first_byte(first_byte).unwrap();
        for version in Version::ALL {
            let there = packet_type != PacketType::Auth || version >= Version::V5;
            assert_eq!(packets.contains(&(version, packet_type)), there, "{packet_type:?}");
        }
    }
    for row in rows() {
        for &place in row.places {
            assert!(found.contains(&(place as u16, row.id)), "{:02X} in {place:?}", row.id);
        }
    }
}
