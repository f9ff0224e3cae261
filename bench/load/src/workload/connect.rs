//! Connections that come and go, as fast as the server takes them.

use super::cycles::Cycles;
use super::{Outcome, Workload};
use std::io;
use std::time::{Duration, Instant};

pub(crate) struct Connect {
    cycles: Cycles,
}

impl Connect {
    pub(crate) fn start(port: u16, parallel: usize) -> io::Result<Self> {
        Ok(Self { cycles: Cycles::start(port, parallel)? })
    }
}

impl Workload for Connect {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        let end = Instant::now() + duration;
        let latency = self.cycles.run(|_| Instant::now() < end)?;
        Ok(Outcome { messages: latency.count(), latency: Some(latency) })
    }

    /// None stays.
    fn connections(&self) -> usize {
        0
    }
}
