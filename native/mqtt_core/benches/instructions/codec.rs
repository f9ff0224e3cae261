//! Packets decoded and encoded.

use crate::BATCH;
use mqtt_codec::{Decoded, Decoder, Version};
use std::hint::black_box;

/// Decodes the packets of a buffer to its end.
pub(crate) fn decode(messages: usize, version: Version, wire: &[u8]) {
    let decoder = Decoder::new(version);
    let buffer = wire.repeat(BATCH);
    for _ in 0..messages / BATCH {
        let mut rest = black_box(&buffer[..]);
        while let Ok(Decoded::Packet(packet, length)) = &decoder.decode(rest) {
            black_box(packet);
            rest = rest.get(*length..).unwrap();
        }
        assert_eq!(rest, []);
    }
}

/// Encodes a packet again and again behind itself.
pub(crate) fn encode(messages: usize, version: Version, wire: &[u8]) {
    let Decoded::Packet(packet, _) = Decoder::new(version).decode(wire).unwrap() else {
        panic!("a part of a packet")
    };
    let mut buffer = Vec::new();
    for _ in 0..messages / BATCH {
        buffer.clear();
        for _ in 0..BATCH {
            black_box(&packet).encode(version, &mut buffer).unwrap();
        }
        black_box(&buffer);
    }
}
