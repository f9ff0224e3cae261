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
}

impl Workload for Echo {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        let mut latency = Latency::new()?;
        let mut start = Instant::now();
        let end = start + duration;
        while start < end {
            self.client.write(&self.packet)?;
            self.client.expect(&self.packet)?;
            latency.record(start.elapsed());
            start = Instant::now();
        }
        Ok(Outcome { messages: latency.count(), latency: Some(latency) })
    }

    fn connections(&self) -> usize {
        1
    }
}
