//! Messages that come back.

use super::exchange::Exchange;
use super::peers::{Dialogue, connect_echoing};
use crate::Server;
use crate::client::Client;
use crate::latency::{Latency, Shared};
use crate::timed::Timed;
use std::io;
use std::time::Instant;

/// Each connection sends a message once the one before has come back.
pub(super) fn start(
    server: Server,
    connections: usize,
    size: usize,
) -> io::Result<Exchange<Echoer>> {
    let (echoers, latency) = connect(server, connections, size)?;
    Exchange::new(echoers, Some(latency))
}

pub(super) fn connect(
    server: Server,
    connections: usize,
    size: usize,
) -> io::Result<(Vec<(Client, Echoer)>, Shared)> {
    let (epoch, latency) = (Instant::now(), Latency::shared()?);
    let echoer = |(client, topic): (Client, String)| {
        let [message, answer] = [(); 2].map(|()| Timed::new(&topic, size, epoch));
        let (message, answer, latency) = (message?, answer?, latency.clone());
        Ok((client, Echoer { message, answer, latency, sent: 0, completed: 0 }))
    };
    let echoers: io::Result<_> =
        connect_echoing(server, connections)?.into_iter().map(echoer).collect();
    Ok((echoers?, latency))
}

pub(super) struct Echoer {
    message: Timed,
    answer: Timed,
    latency: Shared,
    sent: u64,
    completed: u64,
}

impl Echoer {
    /// Appends the message that is due at this time.
    pub(super) fn publish(&mut self, due: Instant, output: &mut Vec<u8>) {
        self.message.append(due, output);
        self.sent += 1;
    }
}

impl Dialogue for Echoer {
    fn receive(&mut self, input: &[u8], _output: &mut Vec<u8>) -> io::Result<usize> {
        let Some(due) = self.answer.take(input)? else { return Ok(0) };
        self.latency.borrow_mut().record(due.elapsed());
        self.completed += 1;
        Ok(self.answer.size())
    }

    fn send(&mut self, output: &mut Vec<u8>) {
        if self.is_idle() {
            self.publish(Instant::now(), output);
        }
    }

    fn completed(&self) -> u64 {
        self.completed
    }

    fn is_idle(&self) -> bool {
        self.completed == self.sent
    }
}
