//! The retained messages: what is kept, what is found, and how it expires (`tables`), and all of it
//! at random against a plain map (`model`).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod model;
#[path = "../naive/mod.rs"]
mod naive;
mod tables;
