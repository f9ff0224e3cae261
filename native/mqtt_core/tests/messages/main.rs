//! What a connection and its session do with packets, byte by byte.
//!
//! `support` has the few steps that all tests take. Messages from the client are in `incoming`, those
//! to it in `outgoing`, what is sent again or kept in `resume`; `aliases` are the topic aliases,
//! `sizes` what does not fit or is not wanted, `connack` the answer to CONNECT, `authentication` the
//! way before and beside it, `broadcast` a message to many, `asking` those that the application is asked about, `subscriptions` what a session keeps of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod aliases;
mod asking;
mod authentication;
mod broadcast;
mod connack;
mod incoming;
mod outgoing;
mod resume;
mod sizes;
mod subscriptions;
mod support;
