//! A packet that arrives in pieces.

use crate::strategies::versioned_packet;
use crate::support::{decode, encode, unlimited};
use mqtt_codec::Decoded;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_cut_packet_says_how_many_bytes_it_waits_for((version, owned) in versioned_packet()) {
        owned.lend(|packet| {
            let wire = encode(version, packet);
            for cut in 0..wire.len() {
                match unlimited(version).decode(&wire[..cut]) {
                    Ok(Decoded::Incomplete(needed)) => {
                        prop_assert!(cut < needed && needed <= wire.len(), "{} at {}", needed, cut);
                    }
                    other => prop_assert!(false, "{:?} at {} of {:02X?}", other, cut, wire),
                }
            }
            prop_assert_eq!(decode(version, &wire), (*packet, wire.len()));
            Ok(())
        })?;
    }

    /// Whoever reads as many bytes as are asked for, and no more, gets the packet.
    #[test]
    fn what_is_asked_for_is_enough((version, owned) in versioned_packet()) {
        owned.lend(|packet| {
            let wire = encode(version, packet);
            let mut read = 0;
            // Nothing, then the fixed header byte by byte, then the body.
            for _ in 0..6 {
                match unlimited(version).decode(&wire[..read]) {
                    Ok(Decoded::Incomplete(needed)) => read = needed.min(wire.len()),
                    _ => break,
                }
            }
            prop_assert_eq!(decode(version, &wire[..read]), (*packet, wire.len()));
            Ok(())
        })?;
    }
}
