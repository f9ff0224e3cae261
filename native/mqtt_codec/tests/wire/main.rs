//! The codec as a peer meets it: bytes against packets, over every packet of every version.
//!
//! `owned` holds the packets that the tests make up, `strategies` makes them up, `support` are the
//! few steps that all tests take. What is tested: that packets survive the wire (`round_trip`),
//! arrive in pieces (`cuts`) and in rows (`stream`), that the receiver's limit holds (`limits`), that
//! the tables of the specification are kept (`tables`), that nothing a peer sends makes the codec
//! panic (`hostile`), and that every error is named and can be met (`errors`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod cuts;
mod errors;
mod hostile;
mod limits;
mod owned;
mod round_trip;
mod strategies;
mod stream;
mod support;
mod tables;
