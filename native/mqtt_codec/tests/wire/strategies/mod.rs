//! Every packet that a version allows.

mod packet;
pub(crate) mod property;
pub(crate) mod reason;
mod text;

use crate::owned::OwnedPacket;
use mqtt_codec::Version;
use proptest::prelude::*;

pub(crate) use packet::packet;

/// A version and one of its packets.
pub(crate) fn versioned_packet() -> impl Strategy<Value = (Version, OwnedPacket)> {
    let of = |version| packet(version).prop_map(move |packet| (version, packet));
    prop_oneof![of(Version::V3_1), of(Version::V3_1_1), of(Version::V5)]
}
