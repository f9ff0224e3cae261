//! Messages of one connection to many.

use super::peers::{Dialogue, Peers};
use super::{Outcome, Workload};
use crate::client::Client;
use crate::latency::{Latency, Shared};
use crate::packet::unexpected;
use crate::timed::Timed;
use std::io;
use std::time::{Duration, Instant};

const TOPIC: &str = "fan-out";

/// The publisher is behind the subscribers.
pub(crate) struct FanOut {
    peers: Peers<Member>,
    latency: Shared,
    subscribers: usize,
    window: u64,
}

impl FanOut {
    pub(crate) fn start(
        port: u16,
        subscribers: usize,
        size: usize,
        window: usize,
    ) -> io::Result<Self> {
        let (epoch, latency) = (Instant::now(), Latency::shared()?);
        let mut members = Vec::with_capacity(subscribers + 1);
        for mut client in Client::connect_many(port, subscribers)? {
            client.subscribe(TOPIC)?;
            let message = Timed::new(TOPIC, size, epoch)?;
            let latency = latency.clone();
            members.push((client, Member::Subscriber { message, latency, received: 0 }));
        }
        let message = Timed::new(TOPIC, size, epoch)?;
        members.push((Client::connect(port, "publisher")?, Member::Publisher { message }));
        Ok(Self { peers: Peers::new(members)?, latency, subscribers, window: window as u64 })
    }

    /// Publishes as many messages at once as may be on the way, and says how many.
    fn publish(&mut self, count: u64) -> io::Result<()> {
        let publisher = self.peers.get(self.subscribers);
        if let Member::Publisher { message } = &mut publisher.dialogue {
            let now = Instant::now();
            for _ in 0..count {
                message.append(now, &mut publisher.output);
            }
        }
        publisher.write(false)
    }
}

impl Workload for FanOut {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        let end = Instant::now() + duration;
        let (before, subscribers) = (self.peers.completed(), self.subscribers as u64);
        let mut published = 0;
        self.peers.set_blocking(false)?;
        loop {
            let received = self.peers.completed() - before;
            let on_the_way = (published * subscribers - received).div_ceil(subscribers);
            if Instant::now() < end {
                let due = self.window - on_the_way;
                self.publish(due)?;
                published += due;
            } else if on_the_way == 0 {
                break;
            }
            self.peers.advance(false)?;
        }
        self.peers.settle()?;
        let messages = published * subscribers;
        Ok(Outcome { messages, latency: Some(Latency::take(&self.latency)?) })
    }

    fn connections(&self) -> usize {
        self.peers.len()
    }
}

enum Member {
    Publisher { message: Timed },
    Subscriber { message: Timed, latency: Shared, received: u64 },
}

impl Dialogue for Member {
    fn receive(&mut self, input: &[u8], _output: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            _ if input.is_empty() => Ok(0),
            Self::Publisher { .. } => Err(unexpected(input)),
            Self::Subscriber { message, latency, received } => {
                let Some(sent) = message.take(input)? else { return Ok(0) };
                latency.borrow_mut().record(sent.elapsed());
                *received += 1;
                Ok(message.size())
            }
        }
    }

    fn send(&mut self, _output: &mut Vec<u8>) {}

    /// Deliveries. None comes twice, so all have come once there are as many as there have to be.
    fn completed(&self) -> u64 {
        match self {
            Self::Publisher { .. } => 0,
            Self::Subscriber { received, .. } => *received,
        }
    }

    fn is_idle(&self) -> bool {
        true
    }
}
