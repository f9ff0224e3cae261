//! One packet from the front of a slice.

use crate::{Error, FixedHeader, Packet, Version};

/// What a receiver takes at most. A packet beyond a limit is refused without being stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a whole packet with its fixed header.
    pub packet_size: usize,
    /// Levels of a topic name or filter.
    pub topic_levels: u16,
    /// Topic filters of a SUBSCRIBE or UNSUBSCRIBE.
    pub topic_filters: usize,
    /// User properties of a packet, and of its will.
    pub user_properties: u16,
}

impl Limits {
    /// Only what the wire format itself can hold.
    pub const NONE: Self = Self {
        packet_size: usize::MAX,
        topic_levels: u16::MAX,
        topic_filters: usize::MAX,
        user_properties: u16::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_size: 1024 * 1024,
            topic_levels: 128,
            topic_filters: 1024,
            user_properties: 64,
        }
    }
}

/// Reads packets of one version, within limits.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// The version of the connection. CONNECT says its own, so for the first packet of a
    /// connection any will do.
    pub version: Version,
    /// What is taken at most.
    pub limits: Limits,
}

/// What stands at the front of a slice.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decoded<'a> {
    /// A packet, and the bytes it took.
    Packet(Packet<'a>, usize),
    /// A part of a packet. As far as can be told yet the whole packet has this many bytes, so
    /// calling again with fewer gives the same answer.
    Incomplete(usize),
}

impl Decoder {
    /// A decoder with the default limits.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self { version, limits: Limits::default() }
    }

    /// Reads the packet at the front of `input`.
    pub fn decode<'a>(&self, input: &'a [u8]) -> Result<Decoded<'a>, Error> {
        self.decode_after("", input)
    }

    /// The same behind a message with that topic, which is not checked once more, and is what a message with
    /// the same one gets.
    pub fn decode_after<'a>(&self, topic: &'a str, input: &'a [u8]) -> Result<Decoded<'a>, Error> {
        let Some(header) = FixedHeader::decode(input, self.version)? else {
            return Ok(Decoded::Incomplete((input.len() + 1).max(2)));
        };
        let length = header.packet_length();
        if length > self.limits.packet_size {
            return Err(Error::PacketTooLarge);
        }
        match input.get(header.length..length) {
            Some(body) => Packet::decode(self, header, topic, body),
            None => Ok(Decoded::Incomplete(length)),
        }
    }
}
