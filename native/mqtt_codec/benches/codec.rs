//! What a packet costs on its way in and out.
//!
//! A row of one packet shows its time and, as a throughput, its bytes; a row of many packets also
//! shows packets a second. Run with `cargo bench -p mqtt_codec --bench codec`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a benchmark fails by panicking"
)]

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use mqtt_codec::{
    Connect, Decoded, Decoder, Packet, PacketId, Properties, PropertiesBuf, Property, Publish, Qos,
    Subscribe, SubscriptionOptions, SubscriptionsBuf, Version, Will,
};

const VERSIONS: [Version; 2] = [Version::V3_1_1, Version::V5];
const PAYLOADS: [usize; 4] = [16, 64, 1024, 64 * 1024];
const TOPIC: &str = "plant/7/line/3/temperature";

fn main() {
    divan::main();
}

fn publish<'a>(topic: &'a str, properties: Properties<'a>, payload: &'a [u8]) -> Packet<'a> {
    Packet::Publish(Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties,
        payload,
    })
}

fn three_properties() -> PropertiesBuf {
    let mut properties = PropertiesBuf::default();
    properties.push(&Property::PayloadFormatIndicator(1)).unwrap();
    properties.push(&Property::MessageExpiryInterval(3600)).unwrap();
    properties.push(&Property::UserProperty(("unit", "celsius"))).unwrap();
    properties
}

/// A message as that version sends it: in MQTT 5.0 with three properties.
fn with_message<R>(version: Version, payload: usize, run: impl FnOnce(&Packet<'_>) -> R) -> R {
    let payload = vec![b'x'; payload];
    let properties =
        if version >= Version::V5 { three_properties() } else { PropertiesBuf::default() };
    run(&publish(TOPIC, properties.as_properties(), &payload))
}

/// A SUBSCRIBE of ten filters, with and without wildcards.
fn with_subscribe<R>(version: Version, run: impl FnOnce(&Packet<'_>) -> R) -> R {
    let mut subscriptions = SubscriptionsBuf::new(version);
    for line in 0..5 {
        let options = |qos| SubscriptionOptions { qos, ..SubscriptionOptions::default() };
        let exact = format!("plant/7/line/{line}/temperature");
        subscriptions.push(&exact, options(Qos::AtLeastOnce)).unwrap();
        subscriptions.push(&format!("plant/+/line/{line}/#"), options(Qos::AtMostOnce)).unwrap();
    }
    run(&Packet::Subscribe(Subscribe {
        packet_id: PacketId::MIN,
        properties: Properties::EMPTY,
        subscriptions: subscriptions.as_subscriptions(),
    }))
}

/// A CONNECT with every field, and in MQTT 5.0 with properties of its own and of the will.
fn with_connect<R>(version: Version, run: impl FnOnce(&Packet<'_>) -> R) -> R {
    let (mut of_packet, mut of_will) = (PropertiesBuf::default(), PropertiesBuf::default());
    if version >= Version::V5 {
        of_packet.push(&Property::SessionExpiryInterval(3600)).unwrap();
        of_packet.push(&Property::ReceiveMaximum(100)).unwrap();
        of_packet.push(&Property::UserProperty(("region", "north"))).unwrap();
        of_will.push(&Property::WillDelayInterval(30)).unwrap();
        of_will.push(&Property::ContentType("text/plain")).unwrap();
    }
    run(&Packet::Connect(Connect {
        version,
        clean_start: true,
        keep_alive: 60,
        properties: of_packet.as_properties(),
        client_id: "sensor-0123456789abcdef",
        will: Some(Will {
            qos: Qos::AtLeastOnce,
            retain: true,
            properties: of_will.as_properties(),
            topic: "plant/7/line/3/status",
            payload: b"offline",
        }),
        username: Some("sensor"),
        password: Some(b"correct horse battery staple"),
    }))
}

fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut wire = Vec::new();
    packet.encode(version, &mut wire).unwrap();
    wire
}

fn bench_decode(bencher: Bencher<'_, '_>, version: Version, wire: &[u8]) {
    let decoder = Decoder::new(version);
    assert!(matches!(decoder.decode(wire), Ok(Decoded::Packet(_, length)) if length == wire.len()));
    bencher.counter(BytesCount::new(wire.len())).bench(|| decoder.decode(black_box(wire)));
}

fn bench_encode(bencher: Bencher<'_, '_>, version: Version, packet: &Packet<'_>) {
    let mut buffer = encoded(version, packet);
    bencher.counter(BytesCount::new(buffer.len())).bench_local(|| {
        buffer.clear();
        black_box(packet).encode(version, &mut buffer)
    });
}

/// Decodes a buffer of packets to its end.
fn bench_decode_all(bencher: Bencher<'_, '_>, version: Version, buffer: &[u8], packets: usize) {
    let decoder = Decoder::new(version);
    let counted = |buffer| {
        let (mut rest, mut packets): (&[u8], usize) = (buffer, 0);
        while let Ok(Decoded::Packet(packet, length)) = decoder.decode(rest) {
            black_box(packet);
            rest = &rest[length..];
            packets += 1;
        }
        packets
    };
    assert_eq!(counted(buffer), packets);
    bencher
        .counter(BytesCount::new(buffer.len()))
        .counter(ItemsCount::new(packets))
        .bench(|| counted(black_box(buffer)));
}

mod decode {
    use super::{
        PAYLOADS, VERSIONS, bench_decode, bench_decode_all, encoded, publish, with_connect,
        with_message, with_subscribe,
    };
    use divan::Bencher;
    use mqtt_codec::{Properties, Version};

    #[divan::bench(args = PAYLOADS)]
    fn publish_v3_1_1(bencher: Bencher<'_, '_>, payload: usize) {
        let version = Version::V3_1_1;
        let wire = with_message(version, payload, |packet| encoded(version, packet));
        bench_decode(bencher, version, &wire);
    }

    #[divan::bench(args = PAYLOADS)]
    fn publish_v5(bencher: Bencher<'_, '_>, payload: usize) {
        let version = Version::V5;
        let wire = with_message(version, payload, |packet| encoded(version, packet));
        bench_decode(bencher, version, &wire);
    }

    #[divan::bench(args = VERSIONS)]
    fn subscribe_of_10_filters(bencher: Bencher<'_, '_>, version: Version) {
        let wire = with_subscribe(version, |packet| encoded(version, packet));
        bench_decode(bencher, version, &wire);
    }

    #[divan::bench(args = VERSIONS)]
    fn connect_with_all_fields(bencher: Bencher<'_, '_>, version: Version) {
        let wire = with_connect(version, |packet| encoded(version, packet));
        bench_decode(bencher, version, &wire);
    }

    /// Sixty bytes each.
    #[divan::bench(args = [
        "plant/7/line/3/press/hydraulics/pump/2/bearing/temperature/c",
        "zürich/gebäude/7/straße/3/größe/höhe/temperatur/nr/°c",
    ])]
    fn topic_of_60_bytes(bencher: Bencher<'_, '_>, topic: &str) {
        assert_eq!(topic.len(), 60);
        let version = Version::V3_1_1;
        bench_decode(bencher, version, &encoded(version, &publish(topic, Properties::EMPTY, b"")));
    }

    /// 64 KiB of 64 bytes each.
    #[divan::bench(args = VERSIONS)]
    fn buffer_of_1024_publishes(bencher: Bencher<'_, '_>, version: Version) {
        let empty = with_message(version, 0, |packet| encoded(version, packet)).len();
        let wire = with_message(version, 64 - empty, |packet| encoded(version, packet));
        assert_eq!(wire.len(), 64);
        bench_decode_all(bencher, version, &wire.repeat(1024), 1024);
    }

    /// The time of a packet stays what it is, however many lie in the buffer.
    #[divan::bench(args = [100, 10_000, 1_000_000], sample_count = 20)]
    fn buffer_of_small_publishes(bencher: Bencher<'_, '_>, packets: usize) {
        let version = Version::V3_1_1;
        let wire = encoded(version, &publish("a/b", Properties::EMPTY, b"12345678901"));
        assert_eq!(wire.len(), 18);
        bench_decode_all(bencher, version, &wire.repeat(packets), packets);
    }
}

mod encode {
    use super::{PAYLOADS, VERSIONS, bench_encode, with_connect, with_message, with_subscribe};
    use divan::Bencher;
    use mqtt_codec::Version;

    #[divan::bench(args = PAYLOADS)]
    fn publish_v3_1_1(bencher: Bencher<'_, '_>, payload: usize) {
        let version = Version::V3_1_1;
        with_message(version, payload, |packet| bench_encode(bencher, version, packet));
    }

    #[divan::bench(args = PAYLOADS)]
    fn publish_v5(bencher: Bencher<'_, '_>, payload: usize) {
        let version = Version::V5;
        with_message(version, payload, |packet| bench_encode(bencher, version, packet));
    }

    #[divan::bench(args = VERSIONS)]
    fn subscribe_of_10_filters(bencher: Bencher<'_, '_>, version: Version) {
        with_subscribe(version, |packet| bench_encode(bencher, version, packet));
    }

    #[divan::bench(args = VERSIONS)]
    fn connect_with_all_fields(bencher: Bencher<'_, '_>, version: Version) {
        with_connect(version, |packet| bench_encode(bencher, version, packet));
    }
}
