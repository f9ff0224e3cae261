//! The steps that the tests share.

use mqtt_codec::{Decoded, Decoder, Limits, Packet, Place, Properties, Version};

/// The bytes of a packet.
pub(crate) fn encode(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    assert_eq!(packet.encode(version, &mut wire), Ok(wire.len()), "{packet:?}");
    wire
}

/// A decoder without limits.
pub(crate) fn unlimited(version: Version) -> Decoder {
    Decoder { version, limits: Limits::NONE }
}

/// The packet at the front of `wire` and its length. Of the limits only that of the packet's size
/// is lifted; the others are those that the strategies keep to.
pub(crate) fn decode(version: Version, wire: &[u8]) -> (Packet<'_>, usize) {
    let limits = Limits { packet_size: usize::MAX, ..Limits::default() };
    match (Decoder { version, limits }).decode(wire) {
        Ok(Decoded::Packet(packet, length)) => (packet, length),
        other => panic!("{other:?} instead of the packet {wire:02X?}"),
    }
}

/// A Variable Byte Integer (section 2.2.3, and 1.5.5 of MQTT 5.0).
pub(crate) fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 127 {
        bytes.push((value % 128) as u8 | 128);
        value /= 128;
    }
    bytes.push(value as u8);
    bytes
}

/// A packet of that first byte around `body`.
pub(crate) fn framed(first_byte: u8, body: &[u8]) -> Vec<u8> {
    [&[first_byte], &varint(body.len())[..], body].concat()
}

/// The properties of a packet, by the place they stand in.
pub(crate) fn properties<'a>(packet: &Packet<'a>) -> Vec<(Place, Properties<'a>)> {
    match packet {
        Packet::Connect(packet) => {
            let will = packet.will.map(|will| (Place::Will, will.properties));
            [(Place::Connect, packet.properties)].into_iter().chain(will).collect()
        }
        Packet::Connack(packet) => vec![(Place::Connack, packet.properties)],
        Packet::Publish(packet) => vec![(Place::Publish, packet.properties)],
        Packet::Puback(packet) => vec![(Place::Puback, packet.properties)],
        Packet::Pubrec(packet) => vec![(Place::Pubrec, packet.properties)],
        Packet::Pubrel(packet) => vec![(Place::Pubrel, packet.properties)],
        Packet::Pubcomp(packet) => vec![(Place::Pubcomp, packet.properties)],
        Packet::Subscribe(packet) => vec![(Place::Subscribe, packet.properties)],
        Packet::Suback(packet) => vec![(Place::Suback, packet.properties)],
        Packet::Unsubscribe(packet) => vec![(Place::Unsubscribe, packet.properties)],
        Packet::Unsuback(packet) => vec![(Place::Unsuback, packet.properties)],
        Packet::Pingreq | Packet::Pingresp => Vec::new(),
        Packet::Disconnect(packet) => vec![(Place::Disconnect, packet.properties)],
        Packet::Auth(packet) => vec![(Place::Auth, packet.properties)],
    }
}
