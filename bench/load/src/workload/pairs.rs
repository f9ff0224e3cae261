//! Pairs of a publisher and its subscriber.

use super::exchange::Exchange;
use super::peers::Dialogue;
use crate::client::Client;
use crate::latency::{Latency, Shared};
use crate::packet::unexpected;
use crate::timed::Timed;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Instant;

/// A pair has a topic of its own, and so many of its messages are on the way at most.
pub(super) fn start(
    port: u16,
    pairs: usize,
    size: usize,
    window: u64,
) -> io::Result<Exchange<Member>> {
    let (epoch, latency) = (Instant::now(), Latency::shared()?);
    let mut members = Vec::with_capacity(2 * pairs);
    for pair in 0..pairs {
        let topic = format!("pair/{pair}");
        let mut client = Client::connect(port, &format!("subscriber-{pair}"))?;
        client.subscribe(&topic)?;
        let delivered = Rc::new(Cell::new(0));
        let publisher = members.len() + 1;
        let message = Timed::new(&topic, size, epoch)?;
        let (latency, count) = (latency.clone(), delivered.clone());
        members
            .push((client, Member::Subscriber { message, latency, delivered: count, publisher }));

        let client = Client::connect(port, &format!("publisher-{pair}"))?;
        let message = Timed::new(&topic, size, epoch)?;
        members.push((client, Member::Publisher { message, window, sent: 0, delivered }));
    }
    Exchange::new(members, Some(latency))
}

pub(super) enum Member {
    Publisher { message: Timed, window: u64, sent: u64, delivered: Rc<Cell<u64>> },
    Subscriber { message: Timed, latency: Shared, delivered: Rc<Cell<u64>>, publisher: usize },
}

impl Dialogue for Member {
    fn receive(&mut self, input: &[u8], _output: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            _ if input.is_empty() => Ok(0),
            Self::Publisher { .. } => Err(unexpected(input)),
            Self::Subscriber { message, latency, delivered, .. } => {
                let Some(sent) = message.take(input)? else { return Ok(0) };
                latency.borrow_mut().record(sent.elapsed());
                delivered.set(delivered.get() + 1);
                Ok(message.size())
            }
        }
    }

    fn send(&mut self, output: &mut Vec<u8>) {
        if let Self::Publisher { message, window, sent, delivered } = self {
            let now = Instant::now();
            while *sent < delivered.get() + *window {
                message.append(now, output);
                *sent += 1;
            }
        }
    }

    /// Deliveries.
    fn completed(&self) -> u64 {
        match self {
            Self::Publisher { .. } => 0,
            Self::Subscriber { delivered, .. } => delivered.get(),
        }
    }

    fn is_idle(&self) -> bool {
        match self {
            Self::Publisher { sent, delivered, .. } => *sent == delivered.get(),
            Self::Subscriber { .. } => true,
        }
    }

    fn wakes(&self) -> Option<usize> {
        match self {
            Self::Publisher { .. } => None,
            Self::Subscriber { publisher, .. } => Some(*publisher),
        }
    }
}
