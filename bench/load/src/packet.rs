//! The packets that are sent, as bytes.

use mqtt_codec::{
    Connect, Packet, PacketId, Properties, Publish, Qos, Subscribe, SubscriptionOptions,
    SubscriptionsBuf, Version,
};
use std::io;

pub(crate) const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
pub(crate) const SUBACK: [u8; 5] = [0x90, 3, 0, 1, 0];
pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xD0, 0];
pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

pub(crate) fn connect(client_id: &str) -> Vec<u8> {
    encode(&Packet::Connect(Connect {
        version: Version::V3_1_1,
        clean_start: true,
        keep_alive: 60,
        properties: Properties::EMPTY,
        client_id,
        will: None,
        username: None,
        password: None,
    }))
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
    encode(&Packet::Publish(Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id,
        properties: Properties::EMPTY,
        payload,
    }))
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

/// A SUBSCRIBE for one filter, which [`SUBACK`] answers.
pub(crate) fn subscribe(filter: &str) -> Vec<u8> {
    let mut subscriptions = SubscriptionsBuf::new(Version::V3_1_1);
    subscriptions
        .push(filter, SubscriptionOptions::default())
        .expect("filters of workloads are valid");
    encode(&Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        properties: Properties::EMPTY,
        subscriptions: subscriptions.as_subscriptions(),
    }))
}

/// The server does not keep to the protocol.
pub(crate) fn unexpected(packet: &[u8]) -> io::Error {
    let start = &packet[..packet.len().min(16)];
    io::Error::other(format!("unexpected packet: {start:02X?}"))
}

fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(Version::V3_1_1, &mut bytes).expect("packets of workloads are valid");
    bytes
}
