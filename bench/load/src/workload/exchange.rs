//! Connections on which both sides send and answer, as fast as they can.

use super::{Outcome, Workload};
use crate::client::{Client, PATIENCE};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// So many bytes of a connection are read at once.
const BUFFER: usize = 64 * 1024;

/// What is said on a connection.
pub(super) trait Dialogue {
    /// Takes one packet from the front of what has come, appends its answer, and says how many bytes
    /// it had; none if it has not come whole.
    fn receive(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize>;

    /// Appends what may be sent of our own accord.
    fn send(&mut self, output: &mut Vec<u8>);

    /// Messages whose way has ended.
    fn completed(&self) -> u64;

    /// Whether no message is on its way.
    fn is_idle(&self) -> bool;
}

pub(super) struct Exchange<D> {
    poll: Poll,
    events: Events,
    peers: Vec<Peer<D>>,
}

struct Peer<D> {
    client: Client,
    dialogue: D,
    /// What has come is at the front, up to `filled`.
    input: Box<[u8]>,
    filled: usize,
    /// What was written of it is at the front, up to `written`.
    output: Vec<u8>,
    written: usize,
}

impl<D: Dialogue> Exchange<D> {
    pub(super) fn start(
        port: u16,
        connections: usize,
        dialogue: impl Fn() -> D,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let clients = Client::connect_many(port, connections)?;
        for (number, client) in clients.iter().enumerate() {
            let fd = client.as_raw_fd();
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut SourceFd(&fd), Token(number), interest)?;
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(connections),
            peers: clients.into_iter().map(|client| Peer::new(client, dialogue())).collect(),
        })
    }

    fn set_blocking(&self, blocking: bool) -> io::Result<()> {
        self.peers.iter().try_for_each(|peer| peer.client.set_blocking(blocking))
    }

    fn completed(&self) -> u64 {
        self.peers.iter().map(|peer| peer.dialogue.completed()).sum()
    }

    fn run_until(&mut self, end: Instant) -> io::Result<()> {
        for peer in &mut self.peers {
            peer.write(true)?;
        }
        loop {
            let more = Instant::now() < end;
            if !more && self.peers.iter().all(Peer::is_idle) {
                return Ok(());
            }
            self.poll.poll(&mut self.events, Some(PATIENCE))?;
            if self.events.is_empty() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            for event in &self.events {
                let peer = &mut self.peers[event.token().0];
                peer.read()?;
                peer.write(more)?;
            }
        }
    }
}

impl<D: Dialogue> Workload for Exchange<D> {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        let before = self.completed();
        self.set_blocking(false)?;
        self.run_until(Instant::now() + duration)?;
        self.set_blocking(true)?;
        // The server has read the last of what was sent, and has nothing more to say.
        Client::settle(self.peers.iter_mut().map(|peer| &mut peer.client))?;
        Ok(Outcome { messages: self.completed() - before, latency: None })
    }

    fn connections(&self) -> usize {
        self.peers.len()
    }
}

impl<D: Dialogue> Peer<D> {
    fn new(client: Client, dialogue: D) -> Self {
        let input = vec![0; BUFFER].into_boxed_slice();
        Self { client, dialogue, input, filled: 0, output: Vec::new(), written: 0 }
    }

    /// Reads everything that has come.
    fn read(&mut self) -> io::Result<()> {
        while let Some(read) = self.client.try_read(&mut self.input[self.filled..])? {
            self.filled += read;
            let full = self.filled == self.input.len();
            let mut taken = 0;
            loop {
                let packet = &self.input[taken..self.filled];
                match self.dialogue.receive(packet, &mut self.output)? {
                    0 => break,
                    size => taken += size,
                }
            }
            self.input.copy_within(taken..self.filled, 0);
            self.filled -= taken;
            // A read that does not fill the buffer has read everything.
            if !full {
                break;
            }
        }
        Ok(())
    }

    /// Writes what the server takes of the answers and, if `more`, of further messages.
    fn write(&mut self, more: bool) -> io::Result<()> {
        if more {
            self.dialogue.send(&mut self.output);
        }
        while self.written < self.output.len() {
            match self.client.try_write(&self.output[self.written..])? {
                Some(count) => self.written += count,
                None => return Ok(()),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.output.is_empty() && self.dialogue.is_idle()
    }
}

/// The server does not keep to the protocol.
pub(super) fn unexpected(packet: &[u8]) -> io::Error {
    let start = &packet[..packet.len().min(16)];
    io::Error::other(format!("unexpected packet: {start:02X?}"))
}
