//! The packets, as bytes.

use mqtt_codec::{
    Connect, Packet, PacketId, Properties, PropertiesBuf, Property, Publish, Qos, Suback,
    Subscribe, SubscriptionOptions, SubscriptionsBuf, Version, Will,
};

pub(crate) const TOPIC: &str = "plant/7/line/3/temperature";

/// A message with a payload of 64 bytes.
pub(crate) fn publish_64() -> Vec<u8> {
    encode(Version::V3_1_1, &Packet::Publish(message(Qos::AtMostOnce, &[b'x'; 64])))
}

/// The same with three properties.
pub(crate) fn publish_64_v5() -> Vec<u8> {
    let mut properties = PropertiesBuf::default();
    properties.push(&Property::PayloadFormatIndicator(1)).unwrap();
    properties.push(&Property::MessageExpiryInterval(3600)).unwrap();
    properties.push(&Property::UserProperty(("unit", "celsius"))).unwrap();
    let message = message(Qos::AtMostOnce, &[b'x'; 64]);
    let publish = Publish { properties: properties.as_properties(), ..message };
    encode(Version::V5, &Packet::Publish(publish))
}

/// A message with a payload of 1,024 bytes.
pub(crate) fn publish_1k() -> Vec<u8> {
    encode(Version::V3_1_1, &Packet::Publish(message(Qos::AtMostOnce, &[b'x'; 1024])))
}

/// A message as it is given to a connection to be published.
pub(crate) fn message(qos: Qos, payload: &[u8]) -> Publish<'_> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: TOPIC,
        packet_id: None,
        properties: Properties::EMPTY,
        payload,
    }
}

/// A message with a payload of 64 bytes and that packet identifier.
pub(crate) fn publish_with_id(version: Version, qos: Qos, id: u16) -> Vec<u8> {
    let publish = Publish { packet_id: PacketId::new(id), ..message(qos, &[b'x'; 64]) };
    encode(version, &Packet::Publish(publish))
}

/// An acknowledgement that is a success.
pub(crate) fn ack(first_byte: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![first_byte, 2, high, low]
}

/// A SUBSCRIBE of ten filters, with and without wildcards.
pub(crate) fn subscribe_10() -> Vec<u8> {
    let mut subscriptions = SubscriptionsBuf::new(Version::V3_1_1);
    for line in 0..5 {
        let options = |qos| SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let exact = format!("plant/7/line/{line}/temperature");
        subscriptions.push(&exact, options(Qos::AtLeastOnce)).unwrap();
        subscriptions.push(&format!("plant/+/line/{line}/#"), options(Qos::AtMostOnce)).unwrap();
    }
    encode(
        Version::V3_1_1,
        &Packet::Subscribe(Subscribe {
            packet_id: PacketId::MIN,
            properties: Properties::EMPTY,
            subscriptions: subscriptions.as_subscriptions(),
        }),
    )
}

/// The answer to it.
pub(crate) fn suback_10() -> Vec<u8> {
    let properties = Properties::EMPTY;
    let codes = &[1, 0, 1, 0, 1, 0, 1, 0, 1, 0];
    let suback = Suback { packet_id: PacketId::MIN, properties, codes };
    encode(Version::V3_1_1, &Packet::Suback(suback))
}

/// A CONNECT with every field, and in MQTT 5.0 with properties.
pub(crate) fn connect(version: Version) -> Vec<u8> {
    let mut properties = PropertiesBuf::default();
    if version >= Version::V5 {
        properties.push(&Property::SessionExpiryInterval(3600)).unwrap();
        properties.push(&Property::ReceiveMaximum(100)).unwrap();
        properties.push(&Property::UserProperty(("region", "north"))).unwrap();
    }
    let connect = Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        properties: properties.as_properties(),
        client_id: "sensor-0123456789abcdef",
        will: Some(Will {
            qos: Qos::AtLeastOnce,
            retain: true,
            properties: Properties::EMPTY,
            topic: "plant/7/line/3/status",
            payload: b"offline",
        }),
        username: Some("sensor"),
        password: Some(b"correct horse battery staple"),
    };
    encode(version, &Packet::Connect(connect))
}

fn encode(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    packet.encode(version, &mut wire).unwrap();
    wire
}
