//! Connections on which both sides send and answer.

use crate::Server;
use crate::client::{Client, PATIENCE};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

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

    /// The peer that may send more because of what has come.
    fn wakes(&self) -> Option<usize> {
        None
    }
}

/// The peers have the tokens from 0 on.
pub(super) struct Peers<D> {
    poll: Poll,
    events: Events,
    all: Vec<Peer<D>>,
}

pub(super) struct Peer<D> {
    client: Client,
    pub(super) dialogue: D,
    /// What has come is at the front, up to `filled`.
    input: Box<[u8]>,
    filled: usize,
    /// What was written of it is at the front, up to `written`.
    pub(super) output: Vec<u8>,
    written: usize,
}

impl<D: Dialogue> Peers<D> {
    pub(super) fn new(peers: impl IntoIterator<Item = (Client, D)>) -> io::Result<Self> {
        let all: Vec<_> =
            peers.into_iter().map(|(client, dialogue)| Peer::new(client, dialogue)).collect();
        let poll = Poll::new()?;
        for (number, peer) in all.iter().enumerate() {
            let fd = peer.client.as_raw_fd();
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut SourceFd(&fd), Token(number), interest)?;
        }
        Ok(Self { poll, events: Events::with_capacity(all.len() + 1), all })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&mut self, number: usize) -> &mut Peer<D> {
        &mut self.all[number]
    }

    /// Tells, by the token behind those of the peers, when something else can be read.
    pub(super) fn register(&self, fd: RawFd) -> io::Result<()> {
        let token = Token(self.all.len());
        self.poll.registry().register(&mut SourceFd(&fd), token, Interest::READABLE)
    }

    /// Waits until there is something to do, and does it: reads what has come, and writes the answers
    /// and, if `more`, further messages. Says whether the something else can be read.
    pub(super) fn advance(&mut self, more: bool) -> io::Result<bool> {
        self.poll.poll(&mut self.events, Some(PATIENCE))?;
        if self.events.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut other = false;
        for event in &self.events {
            let Some(peer) = self.all.get_mut(event.token().0) else {
                other = true;
                continue;
            };
            peer.read()?;
            peer.write(more)?;
            if let Some(woken) = peer.dialogue.wakes() {
                self.all[woken].write(more)?;
            }
        }
        Ok(other)
    }

    pub(super) fn write(&mut self, more: bool) -> io::Result<()> {
        self.all.iter_mut().try_for_each(|peer| peer.write(more))
    }

    pub(super) fn completed(&self) -> u64 {
        self.all.iter().map(|peer| peer.dialogue.completed()).sum()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.all.iter().all(|peer| peer.output.is_empty() && peer.dialogue.is_idle())
    }

    pub(super) fn set_blocking(&self, blocking: bool) -> io::Result<()> {
        self.all.iter().try_for_each(|peer| peer.client.set_blocking(blocking))
    }

    /// Makes sure that the server has read the last of what was sent, and has nothing more to say.
    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.set_blocking(true)?;
        Client::settle(self.all.iter_mut().map(|peer| &mut peer.client))
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

    /// Writes what the server takes of the output and, if `more`, of further messages.
    pub(super) fn write(&mut self, more: bool) -> io::Result<()> {
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
}

/// So many connections, each with the topic whose messages the server sends back to it.
pub(super) fn connect_echoing(server: Server, count: usize) -> io::Result<Vec<(Client, String)>> {
    let clients = Client::connect_many(server.port, count)?;
    let with_topic = |(number, mut client): (usize, Client)| {
        if !server.broker {
            return Ok((client, "echo".to_owned()));
        }
        let topic = format!("echo/{number}");
        client.subscribe(&topic)?;
        Ok((client, topic))
    };
    clients.into_iter().enumerate().map(with_topic).collect()
}
