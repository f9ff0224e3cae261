//! The router: tables of what matches (`matching`), groups of shared subscriptions (`groups`), and
//! subscriptions at random against a comparison level by level (`model`).

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod groups;
mod matching;
mod model;
#[path = "../naive/mod.rs"]
mod naive;
mod support;
