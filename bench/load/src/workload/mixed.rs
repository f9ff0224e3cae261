//! Quiet connections beside one that takes all that it can get.

use super::paced::Paced;
use super::{Figure, Outcome, Workload};
use crate::Server;
use crate::client::Client;
use crate::latency::Latency;
use crate::packet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Bytes that the message of a quiet connection has.
const QUIET_SIZE: usize = 64;

pub(crate) struct Mixed {
    quiet: Paced,
    flood: Client,
    /// What the flood consists of.
    packet: Vec<u8>,
    calm_duration: Duration,
    /// The latency of the quiet connections before the flood.
    calm: Option<Latency>,
}

impl Mixed {
    /// Each of the quiet connections sends a small message a second, which comes back. For `calm` they
    /// are alone.
    pub(crate) fn start(
        server: Server,
        connections: u32,
        size: usize,
        calm: Duration,
    ) -> io::Result<Self> {
        Ok(Self {
            quiet: Paced::start(server, connections as usize, QUIET_SIZE, connections)?,
            flood: Client::connect(server.port, "flood")?,
            packet: packet::publish("ignore", size),
            calm_duration: calm,
            calm: None,
        })
    }
}

impl Workload for Mixed {
    fn warm_up(&mut self, duration: Duration) -> io::Result<()> {
        self.run(duration)?;
        self.calm = self.quiet.run(self.calm_duration)?.latency;
        Ok(())
    }

    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        let Self { quiet, flood, packet, .. } = self;
        let ends = AtomicBool::new(false);
        let (outcome, flooded) = thread::scope(|scope| {
            let flood = scope.spawn(|| flood_until(&ends, flood, packet));
            let outcome = quiet.run(duration);
            ends.store(true, Ordering::Relaxed);
            (outcome, flood.join())
        });
        let mut outcome = outcome?;
        outcome.messages += flooded.map_err(|_| io::Error::other("the flood panicked"))??;
        Ok(outcome)
    }

    fn connections(&self) -> usize {
        self.quiet.connections() + 1
    }

    fn finish(&mut self) -> io::Result<Vec<Figure>> {
        let calm = self.calm.iter().flat_map(Latency::quantiles);
        Ok(calm.map(|(name, seconds)| (format!("calm_{name}"), seconds)).collect())
    }
}

/// Says how many messages it had.
fn flood_until(ends: &AtomicBool, client: &mut Client, packet: &[u8]) -> io::Result<u64> {
    let mut count = 0;
    while !ends.load(Ordering::Relaxed) {
        client.write(packet)?;
        count += 1;
    }
    Client::settle([client])?;
    Ok(count)
}
