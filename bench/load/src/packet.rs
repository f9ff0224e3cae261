//! The packets that are sent, as bytes.

use mqtt_codec::{
    Connect, Packet, PacketId, Properties, Publish, Qos, Subscribe, SubscriptionOptions,
    SubscriptionsBuf, Version,
};

pub(crate) const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
pub(crate) const SUBACK: [u8; 5] = [0x90, 3, 0, 1, 0];
pub(crate) const PINGREQ: [u8; 2] = [0xC0, 0];
pub(crate) const PINGRESP: [u8; 2] = [0xD0, 0];

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

/// A PUBLISH of QoS 0. At this QoS a server's has the same bytes.
pub(crate) fn publish(topic: &str, payload_size: usize) -> Vec<u8> {
    encode(&Packet::Publish(Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties: Properties::EMPTY,
        payload: &vec![b'x'; payload_size],
    }))
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

fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(Version::V3_1_1, &mut bytes).expect("packets of workloads are valid");
    bytes
}
