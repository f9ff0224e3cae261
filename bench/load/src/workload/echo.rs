//! One message at a time, there and back.

use super::{Outcome, Workload};
use crate::Server;
use crate::client::Client;
use crate::latency::Latency;
use crate::packet;
use std::io;
use std::time::{Duration, Instant};

pub(crate) struct Echo {
    client: Client,
    packet: Vec<u8>,
}

impl Echo {
    pub(crate) fn start(server: Server, size: usize) -> io::Result<Self> {
        let mut client = Client::connect(server.port, "echo")?;
        if server.broker {
            client.subscribe("echo")?;
        }
        Ok(Self { client, packet: packet::publish("echo", size) })
    }

    /// One round trip after the other, with a pause between them, until `end`.
    pub(super) fn run_until(&mut self, end: Instant, pause: Duration) -> io::Result<Outcome> {
        let mut latency = Latency::new()?;
        let mut start = Instant::now();
        while start < end {
            self.client.write(&self.packet)?;
            self.client.expect(&self.packet)?;
            latency.record(start.elapsed());
            if !pause.is_zero() {
                std::thread::sleep(pause);
            }
            start = Instant::now();
        }
        Ok(Outcome { messages: latency.count(), latency: Some(latency) })
    }
}

impl Workload for Echo {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        self.run_until(Instant::now() + duration, Duration::ZERO)
    }

    fn connections(&self) -> usize {
        1
    }
}
