//! One message at a time, there and back.

use super::{Outcome, Workload};
use crate::client::{Client, PATIENCE};
use crate::packet;
use hdrhistogram::Histogram;
use std::io;
use std::time::{Duration, Instant};

/// Of a latency, that are kept.
const DIGITS: u8 = 3;

pub(crate) struct Echo {
    client: Client,
    packet: Vec<u8>,
}

impl Echo {
    pub(crate) fn start(port: u16, size: usize) -> io::Result<Self> {
        let client = Client::connect(port, "echo")?;
        Ok(Self { client, packet: packet::publish("echo", size) })
    }

    /// One round trip after the other, with a pause between them, until `end`.
    pub(super) fn run_until(&mut self, end: Instant, pause: Duration) -> io::Result<Outcome> {
        let longest = PATIENCE.as_nanos() as u64;
        let mut latency = Histogram::new_with_max(longest, DIGITS).map_err(io::Error::other)?;
        let mut start = Instant::now();
        while start < end {
            self.client.write(&self.packet)?;
            self.client.expect(&self.packet)?;
            latency.saturating_record(start.elapsed().as_nanos() as u64);
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            start = Instant::now();
        }
        Ok(Outcome { messages: latency.len(), latency: Some(latency) })
    }
}

impl Workload for Echo {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        self.run_until(Instant::now() + duration, Duration::ZERO)
    }
}
