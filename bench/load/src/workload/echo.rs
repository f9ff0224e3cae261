//! One message at a time, there and back.

use super::{Outcome, Workload};
use crate::Server;
use crate::client::Client;
use crate::latency::Latency;
use crate::packet;
use crate::template::Template;
use std::io;
use std::slice;
use std::time::{Duration, Instant};

pub(crate) struct Echo {
    client: Client,
    message: Template<{ size_of::<u64>() }>,
    /// How many there have been.
    count: u64,
}

impl Echo {
    pub(crate) fn start(server: Server, size: usize) -> io::Result<Self> {
        let mut client = Client::connect(server.port, "echo")?;
        if server.broker {
            client.subscribe("echo")?;
        }
        let message = Template::new(packet::publish("echo", size), size)?;
        Ok(Self { client, message, count: 0 })
    }
}

impl Workload for Echo {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        let mut latency = Latency::new()?;
        let mut packet = Vec::new();
        let mut start = Instant::now();
        let end = start + duration;
        while start < end {
            self.count += 1;
            packet.clear();
            self.message.append(self.count.to_be_bytes(), &mut packet);
            self.client.write(&packet)?;
            self.client.expect(&packet)?;
            latency.record(start.elapsed());
            start = Instant::now();
        }
        Client::settle(slice::from_mut(&mut self.client))?;
        Ok(Outcome { messages: latency.count(), latency: Some(latency) })
    }

    fn connections(&self) -> usize {
        1
    }
}
