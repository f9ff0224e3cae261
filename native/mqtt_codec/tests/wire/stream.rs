//! Packets one behind the other.

use crate::strategies::{packet, versioned_packet};
use crate::support::{encode, properties, unlimited};
use mqtt_codec::{Decoded, Packet, Property, Version};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_follows_a_packet_is_left_alone(
        (version, owned) in versioned_packet(),
        rest in vec(any::<u8>(), 1..20),
    ) {
        owned.lend(|packet| {
            let wire = encode(version, packet);
            let with_rest = [&wire[..], &rest].concat();
            let decoded = unlimited(version).decode(&with_rest);
            prop_assert_eq!(decoded, Ok(Decoded::Packet(*packet, wire.len())));
            Ok(())
        })?;
    }
}

const PACKETS: usize = 500;

/// Linear work in what can be counted: as many calls as packets, which together take each byte
/// once, and each of which looks at no bytes but its own.
#[test]
fn a_buffer_is_read_once() {
    let mut runner = TestRunner::deterministic();
    for version in Version::ALL {
        let strategy = packet(version);
        let mut buffer = Vec::new();
        for _ in 0..PACKETS {
            let packet = strategy.new_tree(&mut runner).unwrap().current();
            packet.lend(|packet| packet.encode(version, &mut buffer).unwrap());
        }
        let mut rest = &buffer[..];
        for _ in 0..PACKETS {
            let decoded = unlimited(version).decode(rest);
            let Ok(Decoded::Packet(packet, length)) = decoded else { panic!("{decoded:?}") };
            let (own, behind) = rest.split_at(length);
            for slice in borrowed(&packet) {
                let (own, slice) = (own.as_ptr_range(), slice.as_ptr_range());
                assert!(own.start <= slice.start && slice.end <= own.end, "{packet:?}");
            }
            rest = behind;
        }
        assert!(rest.is_empty(), "{} bytes are left", rest.len());
    }
}

/// What a packet borrows; where there is nothing, nothing is borrowed.
fn borrowed<'a>(packet: &Packet<'a>) -> Vec<&'a [u8]> {
    let mut slices = match packet {
        Packet::Connect(packet) => {
            let will = packet.will.map(|will| [will.topic.as_bytes(), will.payload]);
            let mut slices = vec![packet.client_id.as_bytes()];
            slices.extend(will.into_iter().flatten());
            slices.extend(packet.username.map(str::as_bytes));
            slices.extend(packet.password);
            slices
        }
        Packet::Publish(packet) => vec![packet.topic.as_bytes(), packet.payload],
        Packet::Subscribe(packet) => {
            packet.subscriptions.iter().map(|it| it.filter.as_bytes()).collect()
        }
        Packet::Unsubscribe(packet) => packet.filters.iter().map(str::as_bytes).collect(),
        Packet::Suback(packet) | Packet::Unsuback(packet) => vec![packet.codes],
        _ => Vec::new(),
    };
    let properties = properties(packet);
    slices.extend(properties.iter().flat_map(|(_, it)| it.iter()).flat_map(|it| slices_of(&it)));
    slices.retain(|slice| !slice.is_empty());
    slices
}

fn slices_of<'a>(property: &Property<'a>) -> Vec<&'a [u8]> {
    match *property {
        Property::UserProperty((name, value)) => vec![name.as_bytes(), value.as_bytes()],
        Property::ContentType(value)
        | Property::ResponseTopic(value)
        | Property::AssignedClientIdentifier(value)
        | Property::AuthenticationMethod(value)
        | Property::ResponseInformation(value)
        | Property::ServerReference(value)
        | Property::ReasonString(value) => vec![value.as_bytes()],
        Property::CorrelationData(value) | Property::AuthenticationData(value) => vec![value],
        _ => Vec::new(),
    }
}

#[test]
fn the_smallest_packets_take_two_bytes_each() {
    let buffer = [0xC0, 0x00].repeat(PACKETS);
    for version in Version::ALL {
        for (index, _) in buffer.iter().enumerate().step_by(2) {
            let decoded = unlimited(version).decode(&buffer[index..]);
            assert_eq!(decoded, Ok(Decoded::Packet(Packet::Pingreq, 2)));
        }
    }
}
