//! Connections on which both sides send and answer, as fast as they can.

use super::peers::{Dialogue, Peers};
use super::{Outcome, Workload};
use crate::client::Client;
use crate::latency::{Latency, Shared};
use std::io;
use std::time::{Duration, Instant};

pub(super) struct Exchange<D> {
    peers: Peers<D>,
    latency: Option<Shared>,
}

impl<D: Dialogue> Exchange<D> {
    /// With the latency that the dialogues record, if they do.
    pub(super) fn new(
        peers: impl IntoIterator<Item = (Client, D)>,
        latency: Option<Shared>,
    ) -> io::Result<Self> {
        Ok(Self { peers: Peers::new(peers)?, latency })
    }

    fn run_until(&mut self, end: Instant) -> io::Result<()> {
        self.peers.write(true)?;
        loop {
            let more = Instant::now() < end;
            if !more && self.peers.is_idle() {
                return Ok(());
            }
            self.peers.advance(more)?;
        }
    }
}

impl<D: Dialogue> Workload for Exchange<D> {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        let before = self.peers.completed();
        self.peers.set_blocking(false)?;
        self.run_until(Instant::now() + duration)?;
        self.peers.settle()?;
        let latency = self.latency.as_ref().map(Latency::take).transpose()?;
        Ok(Outcome { messages: self.peers.completed() - before, latency })
    }

    fn connections(&self) -> usize {
        self.peers.len()
    }
}
