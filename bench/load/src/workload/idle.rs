//! What a connection costs on which nothing happens.

use super::{Figure, Outcome, Workload};
use crate::client::Client;
use crate::usage::Usage;
use std::io;
use std::thread;
use std::time::Duration;

pub(crate) struct Idle {
    port: u16,
    pid: i32,
    wanted: usize,
    wait: Duration,
    clients: Vec<Client>,
}

impl Idle {
    /// Opens so many connections, one after the other, and waits.
    pub(crate) fn start(port: u16, pid: i32, connections: usize, wait: Duration) -> Self {
        Self { port, pid, wanted: connections, wait, clients: Vec::new() }
    }
}

impl Workload for Idle {
    /// It is the memory of a fresh server that is compared with.
    fn warm_up(&mut self, _duration: Duration) -> io::Result<()> {
        Ok(())
    }

    fn run(&mut self, _duration: Duration) -> io::Result<Outcome> {
        self.clients = Client::connect_many(self.port, self.wanted)?;
        Ok(Outcome { messages: self.wanted as u64, latency: None })
    }

    fn connections(&self) -> usize {
        self.clients.len()
    }

    /// Each of them is still there.
    fn finish(&mut self) -> io::Result<Vec<Figure>> {
        thread::sleep(self.wait);
        let resident = Usage::now(self.pid)?.resident;
        Client::settle(&mut self.clients)?;
        Ok(vec![("resident_idle".to_owned(), resident as f64)])
    }
}
