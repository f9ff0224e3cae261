//! Packet identifiers as keys.

use core::hash::{BuildHasherDefault, Hasher};
use mqtt_codec::PacketId;
use std::collections::{HashMap, HashSet};

/// A map by packet identifier. They are 16 bits, which no client can make collide.
pub(crate) type IdMap<T> = HashMap<PacketId, T, BuildHasherDefault<IdHasher>>;

/// A set of packet identifiers.
pub(crate) type IdSet = HashSet<PacketId, BuildHasherDefault<IdHasher>>;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u16(u16::from(byte));
        }
    }

    fn write_u16(&mut self, id: u16) {
        // Fibonacci hashing: one to one, and spread over the upper bits, which the table looks at.
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
