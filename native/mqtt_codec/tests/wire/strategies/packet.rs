//! One strategy a packet.

use super::property::{OwnedProperty, properties};
use super::reason::codes;
use super::text::{binary, payload, text, topic_filter, topic_name};
use crate::owned::{OwnedConnect, OwnedPacket, OwnedPublish, OwnedWill};
use mqtt_codec::{
    PacketId, PacketType, Place, Qos, ReasonCode, RetainHandling, SubscriptionOptions, Version,
    topic,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Any packet of a version.
pub(crate) fn packet(version: Version) -> BoxedStrategy<OwnedPacket> {
    let packets = prop_oneof![
        3 => connect(version),
        2 => connack(version),
        4 => publish(version),
        1 => ack(version, PacketType::Puback, Place::Puback),
        1 => ack(version, PacketType::Pubrec, Place::Pubrec),
        1 => ack(version, PacketType::Pubrel, Place::Pubrel),
        1 => ack(version, PacketType::Pubcomp, Place::Pubcomp),
        2 => subscribe(version),
        1 => suback(version, PacketType::Suback, Place::Suback),
        2 => unsubscribe(version),
        1 => suback(version, PacketType::Unsuback, Place::Unsuback),
        1 => prop_oneof![Just(OwnedPacket::Pingreq), Just(OwnedPacket::Pingresp)],
        1 => disconnect(version),
    ];
    if version >= Version::V5 {
        prop_oneof![20 => packets, 1 => auth(version)].boxed()
    } else {
        packets.boxed()
    }
}

fn connect(version: Version) -> impl Strategy<Value = OwnedPacket> {
    let will = (qos(), any::<bool>(), properties(version, Place::Will), topic_name(), payload())
        .prop_map(|(qos, retain, properties, topic, payload)| OwnedWill {
            qos,
            retain,
            properties,
            topic,
            payload,
        });
    (
        any::<bool>(),
        any::<u16>(),
        properties(version, Place::Connect),
        text(),
        prop::option::of(will),
        prop::option::of(text()),
        prop::option::of(binary()),
    )
        .prop_map(
            move |(clean_start, keep_alive, properties, client_id, will, username, password)| {
                // Before MQTT 5.0 a password needs a user name [MQTT-3.1.2-22].
                let alone = username.is_none() && version < Version::V5;
                OwnedPacket::Connect(OwnedConnect {
                    version,
                    clean_start,
                    keep_alive,
                    properties,
                    client_id,
                    will,
                    username,
                    password: if alone { None } else { password },
                })
            },
        )
}

fn connack(version: Version) -> impl Strategy<Value = OwnedPacket> {
    let reason = prop_oneof![
        Just(ReasonCode::SUCCESS),
        select(codes(version, PacketType::Connack)).prop_map(ReasonCode)
    ];
    (any::<bool>(), reason, properties(version, Place::Connack)).prop_map(
        move |(session_present, reason, properties)| OwnedPacket::Connack {
            session_present: session_present
                && reason == ReasonCode::SUCCESS
                && version > Version::V3_1,
            reason,
            properties,
        },
    )
}

fn publish(version: Version) -> impl Strategy<Value = OwnedPacket> {
    (
        any::<bool>(),
        qos(),
        any::<bool>(),
        topic_name(),
        packet_id(),
        properties(version, Place::Publish),
        payload(),
        any::<bool>(),
    )
        .prop_map(|(dup, qos, retain, topic, packet_id, properties, payload, aliased)| {
            let at_qos_0 = qos == Qos::AtMostOnce;
            let alias = properties.iter().any(|it| matches!(it, OwnedProperty::TopicAlias(_)));
            OwnedPacket::Publish(OwnedPublish {
                dup: dup && !at_qos_0,
                qos,
                retain,
                topic: if alias && aliased { String::new() } else { topic },
                packet_id: if at_qos_0 { None } else { Some(packet_id) },
                properties,
                payload,
            })
        })
}

fn ack(
    version: Version,
    packet_type: PacketType,
    place: Place,
) -> impl Strategy<Value = OwnedPacket> {
    (packet_id(), reason(version, packet_type), properties(version, place)).prop_map(
        move |(packet_id, reason, properties)| OwnedPacket::Ack {
            packet_type,
            packet_id,
            reason,
            properties,
        },
    )
}

fn subscribe(version: Version) -> impl Strategy<Value = OwnedPacket> {
    let subscription = (topic_filter(version), options(version)).prop_map(|(filter, options)| {
        // [MQTT-3.8.3-4]
        let no_local = options.no_local && !topic::is_shared(&filter);
        (filter, SubscriptionOptions { no_local, ..options })
    });
    (packet_id(), properties(version, Place::Subscribe), vec(subscription, 1..6)).prop_map(
        move |(packet_id, properties, subscriptions)| OwnedPacket::Subscribe {
            version,
            packet_id,
            properties,
            subscriptions,
        },
    )
}

fn options(version: Version) -> impl Strategy<Value = SubscriptionOptions> {
    let retain_handling =
        select(vec![RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend]);
    (qos(), any::<bool>(), any::<bool>(), retain_handling).prop_map(
        move |(qos, no_local, retain_as_published, retain_handling)| {
            if version >= Version::V5 {
                SubscriptionOptions { qos, no_local, retain_as_published, retain_handling }
            } else {
                SubscriptionOptions { qos, ..SubscriptionOptions::default() }
            }
        },
    )
}

fn suback(
    version: Version,
    packet_type: PacketType,
    place: Place,
) -> impl Strategy<Value = OwnedPacket> {
    let codes = match codes(version, packet_type) {
        [] => Just(Vec::new()).boxed(),
        codes => vec(select(codes), 1..9).boxed(),
    };
    (packet_id(), properties(version, place), codes).prop_map(
        move |(packet_id, properties, codes)| OwnedPacket::Suback {
            packet_type,
            packet_id,
            properties,
            codes,
        },
    )
}

fn unsubscribe(version: Version) -> impl Strategy<Value = OwnedPacket> {
    let filters = vec(topic_filter(version), 1..6);
    (packet_id(), properties(version, Place::Unsubscribe), filters).prop_map(
        |(packet_id, properties, filters)| OwnedPacket::Unsubscribe {
            packet_id,
            properties,
            filters,
        },
    )
}

fn disconnect(version: Version) -> impl Strategy<Value = OwnedPacket> {
    (reason(version, PacketType::Disconnect), properties(version, Place::Disconnect))
        .prop_map(|(reason, properties)| OwnedPacket::Disconnect { reason, properties })
}

fn auth(version: Version) -> impl Strategy<Value = OwnedPacket> {
    let long = (reason(version, PacketType::Auth), properties(version, Place::Auth))
        .prop_map(|(reason, properties)| OwnedPacket::Auth { reason, properties });
    let short = OwnedPacket::Auth { reason: ReasonCode::SUCCESS, properties: Vec::new() };
    prop_oneof![1 => Just(short), 4 => long]
}

/// A reason code of the packet; where it has none in that version, success.
fn reason(version: Version, packet_type: PacketType) -> BoxedStrategy<ReasonCode> {
    match codes(version, packet_type) {
        [] => Just(ReasonCode::SUCCESS).boxed(),
        codes => prop_oneof![
            1 => Just(ReasonCode::SUCCESS),
            3 => select(codes).prop_map(ReasonCode),
        ]
        .boxed(),
    }
}

fn qos() -> impl Strategy<Value = Qos> {
    select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}
