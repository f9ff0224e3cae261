//! A fixed rate of messages over many connections, as from many clients that know nothing of each
//! other: when a message is due depends on the clock alone, and not on the server.

use super::echo::Echo;
use super::{Outcome, Workload};
use crate::Server;
use crate::client::Client;
use crate::packet;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Between two echoes of the connection that measures.
const PROBE_PAUSE: Duration = Duration::from_millis(2);

pub(crate) struct Paced {
    clients: Vec<Client>,
    probe: Echo,
    packet: Vec<u8>,
    interval: Duration,
}

impl Paced {
    pub(crate) fn start(
        server: Server,
        connections: usize,
        size: usize,
        rate: u32,
    ) -> io::Result<Self> {
        Ok(Self {
            clients: Client::connect_many(server.port, connections)?,
            probe: Echo::start(server, size)?,
            packet: packet::publish("ignore", size),
            interval: Duration::from_secs(1) / rate,
        })
    }
}

impl Workload for Paced {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        let end = Instant::now() + duration;
        let Self { clients, probe, packet, interval } = self;
        thread::scope(|scope| {
            let probe = scope.spawn(|| probe.run_until(end, PROBE_PAUSE));
            let sent = send_until(end, clients, packet, *interval)?;
            Client::settle(clients)?;
            let mut outcome =
                probe.join().map_err(|_| io::Error::other("the probe panicked"))??;
            outcome.messages += sent;
            Ok(outcome)
        })
    }

    fn connections(&self) -> usize {
        self.clients.len() + 1
    }
}

/// Sends to one client after the other, each message when it is due, and says how many there were.
fn send_until(
    end: Instant,
    clients: &mut [Client],
    packet: &[u8],
    interval: Duration,
) -> io::Result<u64> {
    let mut due = Instant::now();
    let mut sent = 0;
    loop {
        for client in &mut *clients {
            if due >= end {
                return Ok(sent);
            }
            thread::sleep(due.saturating_duration_since(Instant::now()));
            client.write(packet)?;
            due += interval;
            sent += 1;
        }
    }
}
