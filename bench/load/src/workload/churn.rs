//! Whether a server that many connections have come to and left keeps memory of them.

use super::cycles::Cycles;
use super::{Figure, Outcome, Workload};
use crate::usage::Usage;
use std::io;
use std::thread;
use std::time::Duration;

/// What the server has left to do is done by then.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Churn {
    cycles: Cycles,
    pid: i32,
    early: u64,
    connections: u64,
    resident_early: u64,
}

impl Churn {
    /// Opens and closes so many connections, and looks at the memory after the first ones and after
    /// all.
    pub(crate) fn start(
        port: u16,
        pid: i32,
        parallel: usize,
        early: u64,
        connections: u64,
    ) -> io::Result<Self> {
        let cycles = Cycles::start(port, parallel)?;
        Ok(Self { cycles, pid, early, connections, resident_early: 0 })
    }

    fn resident(&self) -> io::Result<u64> {
        thread::sleep(PAUSE);
        Ok(Usage::now(self.pid)?.resident)
    }
}

impl Workload for Churn {
    fn warm_up(&mut self, _duration: Duration) -> io::Result<()> {
        let early = self.early;
        self.cycles.run(|started| started < early)?;
        self.resident_early = self.resident()?;
        Ok(())
    }

    fn run(&mut self, _duration: Duration) -> io::Result<Outcome> {
        let rest = self.connections.saturating_sub(self.early);
        let latency = self.cycles.run(|started| started < rest)?;
        Ok(Outcome { messages: latency.count(), latency: Some(latency) })
    }

    /// None stays.
    fn connections(&self) -> usize {
        0
    }

    fn finish(&mut self) -> io::Result<Vec<Figure>> {
        Ok(vec![
            ("resident_early".to_owned(), self.resident_early as f64),
            ("resident_late".to_owned(), self.resident()? as f64),
        ])
    }
}
