//! The packets that are sent, as bytes.

use mqtt_codec::{
    Connect, Packet, PacketId, Properties, Publish, Qos, ReasonCode, Subscribe,
    SubscriptionOptions, SubscriptionsBuf, Version,
};
use std::io;

/// That of MQTT 3.1.1, where it has no properties.
pub(crate) const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xD0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

pub(crate) fn connect(version: Version, client_id: &str) -> Vec<u8> {
    let connect = Packet::Connect(Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        properties: Properties::EMPTY,
        client_id,
        will: None,
        username: None,
        password: None,
    });
    encode(version, &connect)
}

/// Whether this accepts a connection, and the server had no session of the client.
pub(crate) fn is_connack(packet: &Packet<'_>) -> bool {
    matches!(packet, Packet::Connack(connack)
        if connack.reason == ReasonCode::SUCCESS && !connack.session_present)
}

/// A PUBLISH of QoS 0 with any payload. At this QoS a server's has the same bytes.
pub(crate) fn publish(topic: &str, payload_size: usize) -> Vec<u8> {
    publish_with(topic, Qos::AtMostOnce, None, &payload(payload_size))
}

/// A PUBLISH.
pub(crate) fn publish_with(
    topic: &str,
    qos: Qos,
    packet_id: Option<PacketId>,
    payload: &[u8],
) -> Vec<u8> {
    let publish = Publish { qos, packet_id, ..message(topic, payload) };
    encode(Version::V3_1_1, &Packet::Publish(publish))
}

/// A message of QoS 0.
pub(crate) fn message<'a>(topic: &'a str, payload: &'a [u8]) -> Publish<'a> {
    Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties: Properties::EMPTY,
        payload,
    }
}

/// Any payload of this size.
pub(crate) fn payload(size: usize) -> Vec<u8> {
    vec![b'x'; size]
}

/// The first byte of an acknowledgement, which before MQTT 5.0 is followed by its Remaining Length, 2,
/// and the packet identifier.
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const PUBREC: u8 = 0x50;
pub(crate) const PUBREL: u8 = 0x62;
pub(crate) const PUBCOMP: u8 = 0x70;
pub(crate) const ACK_SIZE: usize = 4;

pub(crate) fn ack(first: u8, id: [u8; 2]) -> [u8; ACK_SIZE] {
    [first, 2, id[0], id[1]]
}

/// A SUBSCRIBE for one filter.
pub(crate) fn subscribe(version: Version, filter: &str, qos: Qos) -> Vec<u8> {
    let mut subscriptions = SubscriptionsBuf::new(version);
    subscriptions
        .push(filter, SubscriptionOptions { qos, ..SubscriptionOptions::default() })
        .expect("filters of workloads are valid");
    let subscribe = Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        properties: Properties::EMPTY,
        subscriptions: subscriptions.as_subscriptions(),
    });
    encode(version, &subscribe)
}

/// Whether this answers a [`subscribe`] with what it asks for.
pub(crate) fn is_suback(packet: &Packet<'_>, qos: Qos) -> bool {
    matches!(packet, Packet::Suback(suback)
        if suback.packet_id == PacketId::MIN && suback.codes == [qos as u8])
}

/// The server does not keep to the protocol.
pub(crate) fn unexpected(packet: &[u8]) -> io::Error {
    let start = &packet[..packet.len().min(16)];
    io::Error::other(format!("unexpected packet: {start:02X?}"))
}

pub(crate) fn encode(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes).expect("packets of workloads are valid");
    bytes
}
