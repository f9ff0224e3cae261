//! What no peer should send: a million inputs, none of which makes the codec panic, and all of
//! which, if they are packets after all, are packets that can be written and read again.

use crate::errors::ENCODE_ONLY;
use crate::strategies::packet;
use crate::support::{framed, properties};
use mqtt_codec::{Decoded, Decoder, Error, Packet, Version};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// Inputs to each test and version; there are three of each.
const INPUTS: usize = 112_000;

/// Quick, and the same at every run.
struct XorShift(u64);

impl XorShift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 32) as u8
    }

    fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 32) as usize) % bound.max(1)
    }
}

/// What came of the inputs.
struct Outcome {
    packets: usize,
    incomplete: usize,
    refused: usize,
    errors: Vec<bool>,
}

impl Outcome {
    fn new() -> Self {
        Self { packets: 0, incomplete: 0, refused: 0, errors: vec![false; Error::ALL.len()] }
    }

    fn take(&mut self, version: Version, input: &[u8], written: &mut Vec<u8>) {
        let decoder = Decoder::new(version);
        match decoder.decode(input) {
            Ok(Decoded::Packet(packet, length)) => {
                self.packets += 1;
                assert!(length <= input.len(), "{input:02X?}");
                walk(&packet);
                written.clear();
                assert_eq!(packet.encode(version, written), Ok(written.len()), "{input:02X?}");
                let again = decoder.decode(written);
                assert_eq!(again, Ok(Decoded::Packet(packet, written.len())), "{input:02X?}");
            }
            Ok(Decoded::Incomplete(needed)) => {
                self.incomplete += 1;
                assert!(needed > input.len(), "{input:02X?}");
            }
            Err(error) => {
                self.refused += 1;
                self.errors[error as usize] = true;
            }
        }
    }

    /// That there was something to be tested.
    fn check(&self, inputs: usize, least_packets: usize, least_errors: usize) {
        let seen = |error: &&Error| self.errors[**error as usize];
        let errors: Vec<_> = Error::ALL.iter().filter(seen).copied().collect();
        assert_eq!(self.packets + self.incomplete + self.refused, inputs);
        assert!(self.packets >= least_packets, "{} packets", self.packets);
        assert!(errors.len() >= least_errors, "{errors:?}");
        for error in ENCODE_ONLY {
            assert!(!errors.contains(&error), "{error:?} comes out of decode");
        }
    }
}

/// Reads every list to its end.
fn walk(packet: &Packet<'_>) {
    match packet {
        Packet::Subscribe(packet) => assert!(packet.subscriptions.iter().count() > 0),
        Packet::Unsubscribe(packet) => assert!(packet.filters.iter().count() > 0),
        _ => {}
    }
    for (_, properties) in properties(packet) {
        assert_eq!(properties.iter().next().is_none(), properties.is_empty());
        assert!(properties.iter().count() < 1_000);
    }
}

/// Small packets to start from, the same at every run.
fn corpus(version: Version) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    let strategy = packet(version);
    let mut corpus = Vec::new();
    while corpus.len() < 500 {
        let owned = strategy.new_tree(&mut runner).unwrap().current();
        let mut wire = Vec::new();
        owned.lend(|packet| packet.encode(version, &mut wire).unwrap());
        if wire.len() <= 160 {
            corpus.push(wire);
        }
    }
    corpus
}

/// One change to the bytes; one in eight is made to the second, which begins a length.
fn mutate(bytes: &mut Vec<u8>, random: &mut XorShift) {
    if bytes.is_empty() {
        bytes.push(random.byte());
        return;
    }
    let at = if random.below(8) == 0 { 1 } else { random.below(bytes.len()) };
    let at = at.min(bytes.len() - 1);
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.byte(),
        2 => bytes[at] = [0x00, 0x01, 0x7F, 0x80, 0xFF][random.below(5)],
        3 => bytes.insert(at, random.byte()),
        4 => drop(bytes.remove(at)),
        5 => bytes.truncate(at),
        // A byte more or less is a field more or less where it was a length.
        6 => bytes[at] = bytes[at].wrapping_add(1),
        _ => bytes[at] = bytes[at].wrapping_sub(1),
    }
}

#[test]
fn packets_with_mistakes_anywhere_make_nothing_panic() {
    for version in Version::ALL {
        let (corpus, mut random) = (corpus(version), XorShift(0x9E37_79B9_7F4A_7C15));
        let (mut outcome, mut bytes, mut written) = (Outcome::new(), Vec::new(), Vec::new());
        for _ in 0..INPUTS {
            bytes.clone_from(&corpus[random.below(corpus.len())]);
            for _ in 0..=random.below(3) {
                mutate(&mut bytes, &mut random);
            }
            outcome.take(version, &bytes, &mut written);
        }
        outcome.check(INPUTS, INPUTS / 10, 20);
    }
}

/// With the Remaining Length put right, so that the mistakes are found by what reads the body.
#[test]
fn packets_with_mistakes_in_the_body_make_nothing_panic() {
    for version in Version::ALL {
        let (corpus, mut random) = (corpus(version), XorShift(0xD1B5_4A32_D192_ED03));
        let (mut outcome, mut body, mut written) = (Outcome::new(), Vec::new(), Vec::new());
        for _ in 0..INPUTS {
            let original = &corpus[random.below(corpus.len())];
            let header = original.iter().skip(1).position(|&byte| byte < 0x80).unwrap() + 2;
            body.clear();
            body.extend_from_slice(&original[header..]);
            for _ in 0..=random.below(3) {
                mutate(&mut body, &mut random);
            }
            outcome.take(version, &framed(original[0], &body), &mut written);
        }
        outcome.check(INPUTS, INPUTS / 10, 20);
    }
}

/// Of any packet type, with flags that it may have.
fn first_byte(random: &mut XorShift) -> u8 {
    match (random.byte() & 0xF0, random.byte()) {
        (0x30, flags) => 0x30 | flags & 0x0F,
        (packet_type @ (0x60 | 0x80 | 0xA0), _) => packet_type | 0x02,
        (packet_type, _) => packet_type,
    }
}

#[test]
fn random_bytes_make_nothing_panic() {
    for version in Version::ALL {
        let mut random = XorShift(0x2545_F491_4F6C_DD1D);
        let (mut outcome, mut bytes, mut written) = (Outcome::new(), Vec::new(), Vec::new());
        for round in 0..INPUTS {
            bytes.clear();
            let mask = [0xFF, 0x1F, 0x03][round % 3];
            bytes.extend((0..random.below(40)).map(|_| random.byte() & mask));
            if round % 2 == 0 {
                outcome.take(version, &bytes, &mut written);
            } else {
                outcome.take(version, &framed(first_byte(&mut random), &bytes), &mut written);
            }
        }
        outcome.check(INPUTS, INPUTS / 400, 15);
    }
}
