//! The router: tables of what matches (`matching`) and groups of shared subscriptions (`groups`).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod groups;
mod matching;
mod support;
