//! The hot paths of codec, state machine and router, for `script/instructions` to count what they take.
//!
//! `instructions PATH MESSAGES` takes that path for so many messages, a multiple of [`BATCH`]; alone it
//! lists the paths. What two numbers of messages differ by is free of the start and of what is set up.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark fails by panicking")]

mod codec;
mod connection;
mod packets;
mod routing;

use mqtt_codec::{Qos, Version};
use std::env;

/// Packets that lie one behind the other in a buffer, as in one that was read from a socket.
const BATCH: usize = 100;

/// What takes a path for so many messages.
type Take = fn(usize);

const PATHS: [(&str, Take); 23] = [
    ("decode-publish-64", |n| codec::decode(n, Version::V3_1_1, &packets::publish_64())),
    ("decode-publish-64-v5", |n| codec::decode(n, Version::V5, &packets::publish_64_v5())),
    ("decode-publish-1k", |n| codec::decode(n, Version::V3_1_1, &packets::publish_1k())),
    ("decode-puback", |n| codec::decode(n, Version::V3_1_1, &packets::ack(0x40, 1))),
    ("decode-subscribe-10", |n| codec::decode(n, Version::V3_1_1, &packets::subscribe_10())),
    ("decode-connect", |n| codec::decode(n, Version::V3_1_1, &packets::connect(Version::V3_1_1))),
    ("decode-connect-v5", |n| codec::decode(n, Version::V5, &packets::connect(Version::V5))),
    ("encode-publish-64", |n| codec::encode(n, Version::V3_1_1, &packets::publish_64())),
    ("encode-publish-64-v5", |n| codec::encode(n, Version::V5, &packets::publish_64_v5())),
    ("encode-suback-10", |n| codec::encode(n, Version::V3_1_1, &packets::suback_10())),
    ("receive-qos-0", |n| connection::receive_qos_0(n, Version::V3_1_1)),
    ("receive-qos-0-v5", |n| connection::receive_qos_0(n, Version::V5)),
    ("receive-qos-1", |n| connection::receive_qos_1(n, Version::V3_1_1)),
    ("receive-qos-2", |n| connection::receive_qos_2(n, Version::V3_1_1)),
    ("send-qos-0", |n| connection::send(n, Version::V3_1_1, Qos::AtMostOnce, &[])),
    ("send-qos-0-v5", |n| connection::send(n, Version::V5, Qos::AtMostOnce, &[])),
    ("send-qos-1", |n| connection::send(n, Version::V3_1_1, Qos::AtLeastOnce, &[0x40])),
    ("send-qos-2", |n| connection::send(n, Version::V3_1_1, Qos::ExactlyOnce, &[0x50, 0x70])),
    ("pump-qos-1", |n| connection::pump(n, Version::V3_1_1, Qos::AtLeastOnce, &[0x40])),
    ("match-exact", routing::match_exact),
    ("match-wildcards-10", routing::match_wildcards),
    ("connect", |n| connection::connect(n, Version::V3_1_1)),
    ("connect-v5", |n| connection::connect(n, Version::V5)),
];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [path, messages] = &arguments[..] {
        let (_, take) = PATHS.iter().find(|(name, _)| name == path).unwrap();
        take(messages.parse().unwrap());
    } else {
        for (name, _) in PATHS {
            println!("{name}");
        }
    }
}
