//! A shared subscription, whose members divide the messages of many publishers among them.

use super::exchange::Exchange;
use super::peers::Dialogue;
use super::window::Window;
use super::{Figure, Outcome, Workload};
use crate::client::Client;
use crate::latency::{self, Latency};
use crate::packet::{self, unexpected};
use mqtt_codec::{Packet, Version};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

const TOPIC: &str = "shared";
const FILTER: &str = "$share/members/shared";
/// The first that has shared subscriptions.
const VERSION: Version = Version::V5;

pub(crate) struct Shared {
    exchange: Exchange<Peer>,
    /// How many messages each member got.
    received: Vec<Rc<Cell<u64>>>,
    /// The least and the most of it in the interval that was measured last.
    range: (u64, u64),
}

impl Shared {
    /// So many messages of all publishers are on the way together at most. Each comes once, to any of
    /// the members.
    pub(crate) fn start(
        port: u16,
        members: usize,
        publishers: usize,
        size: usize,
        window: usize,
    ) -> io::Result<Self> {
        let latency = Latency::shared()?;
        let payload = packet::payload(size);
        let packet = packet::encode(VERSION, &Packet::Publish(packet::message(TOPIC, &payload)));
        let messages = Rc::new(RefCell::new(Window::new(packet, size, window, publishers)?));
        let turn = Rc::new(Cell::new(0));
        let mut peers = Vec::with_capacity(publishers + members);
        for number in 0..publishers {
            let client = Client::connect_with(VERSION, port, &format!("publisher-{number}"))?;
            peers.push((client, Peer::Publisher { messages: messages.clone(), number }));
        }
        let received: Vec<_> = (0..members).map(|_| Rc::new(Cell::new(0))).collect();
        for (number, received) in received.iter().enumerate() {
            let mut client = Client::connect_with(VERSION, port, &format!("member-{number}"))?;
            client.subscribe(FILTER)?;
            peers.push((
                client,
                Peer::Member {
                    messages: messages.clone(),
                    latency: latency.clone(),
                    received: received.clone(),
                    publishers,
                    turn: turn.clone(),
                },
            ));
        }
        Ok(Self { exchange: Exchange::new(peers, Some(latency))?, received, range: (0, 0) })
    }
}

impl Workload for Shared {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        self.received.iter().for_each(|received| received.set(0));
        let outcome = self.exchange.run(duration)?;
        let received = || self.received.iter().map(|received| received.get());
        self.range = (received().min().unwrap_or(0), received().max().unwrap_or(0));
        Ok(outcome)
    }

    fn connections(&self) -> usize {
        self.exchange.connections()
    }

    fn finish(&mut self) -> io::Result<Vec<Figure>> {
        let (least, most) = self.range;
        Ok(vec![("member_least".to_owned(), least as f64), ("member_most".to_owned(), most as f64)])
    }
}

pub(super) enum Peer {
    Publisher {
        messages: Rc<RefCell<Window>>,
        number: usize,
    },
    Member {
        messages: Rc<RefCell<Window>>,
        latency: latency::Shared,
        received: Rc<Cell<u64>>,
        /// They are the peers in front of the members, and take turns.
        publishers: usize,
        turn: Rc<Cell<usize>>,
    },
}

impl Dialogue for Peer {
    fn receive(&mut self, input: &[u8], _output: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            _ if input.is_empty() => Ok(0),
            Self::Publisher { .. } => Err(unexpected(input)),
            Self::Member { messages, latency, received, .. } => {
                let mut messages = messages.borrow_mut();
                let Some(written) = messages.take(input)? else { return Ok(0) };
                latency.borrow_mut().record(written.elapsed());
                received.set(received.get() + 1);
                Ok(messages.message_size())
            }
        }
    }

    fn send(&mut self, output: &mut Vec<u8>) {
        if let Self::Publisher { messages, number } = self {
            messages.borrow_mut().append(*number, output);
        }
    }

    /// Deliveries.
    fn completed(&self) -> u64 {
        match self {
            Self::Publisher { .. } => 0,
            Self::Member { received, .. } => received.get(),
        }
    }

    fn is_idle(&self) -> bool {
        match self {
            Self::Publisher { messages, .. } => messages.borrow().is_idle(),
            Self::Member { .. } => true,
        }
    }

    fn wakes(&self) -> Option<usize> {
        match self {
            Self::Publisher { .. } => None,
            Self::Member { publishers, turn, .. } => {
                let publisher = turn.get();
                turn.set((publisher + 1) % publishers);
                Some(publisher)
            }
        }
    }
}
