//! A server and a client that exchange messages over connections that get lost, against what the
//! specification promises: QoS 1 arrives at least once, QoS 2 exactly once, both in their order, and
//! nobody has more at once than it takes (sections 4.3 to 4.9).
//!
//! `world` has both endpoints and makes up what happens, `client` is a simple client, `server` the
//! server under test with an observer of its wire, `ledger` what has become of each message.
//!
//! A case is determined by its seed. `MODEL_SEED=7` runs one case alone, `MODEL_CASES=1000` as many.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod client;
mod ledger;
mod rng;
mod server;
mod world;

const CASES: u64 = 100_000;
const THREADS: u64 = 2;

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64) {
    if let Err(panic) = std::panic::catch_unwind(|| world::run(seed)) {
        eprintln!("the case fails with MODEL_SEED={seed}");
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn messages_arrive_as_promised_over_connections_that_get_lost() {
    if let Some(seed) = number_from_environment("MODEL_SEED") {
        return run(seed);
    }
    let cases = number_from_environment("MODEL_CASES").unwrap_or(CASES);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || (thread..cases).step_by(THREADS as usize).for_each(run));
        }
    });
}
