//! As many messages as the server takes.

use super::{Outcome, Workload};
use crate::client::Client;
use crate::packet;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// About how many bytes are written at once.
const CHUNK: usize = 128 * 1024;

pub(crate) struct Flood {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    /// Where each client is in the chunk.
    places: Vec<Place>,
    /// Whole packets, one after the other.
    chunk: Vec<u8>,
    packet_size: usize,
}

struct Place {
    offset: usize,
    writable: bool,
}

impl Flood {
    pub(crate) fn start(
        port: u16,
        connections: usize,
        size: usize,
        topics: usize,
    ) -> io::Result<Self> {
        let packets = packets(size, topics);
        let poll = Poll::new()?;
        let clients = Client::connect_many(port, connections)?;
        for (number, client) in clients.iter().enumerate() {
            let fd = client.as_raw_fd();
            poll.registry().register(&mut SourceFd(&fd), Token(number), Interest::WRITABLE)?;
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(connections),
            places: clients.iter().map(|_| Place { offset: 0, writable: true }).collect(),
            clients,
            packet_size: packets.len() / topics,
            chunk: packets.repeat(CHUNK.div_ceil(packets.len())),
        })
    }

    /// Writes once to each client that takes something, and says how many bytes went out.
    fn write_round(&mut self) -> io::Result<usize> {
        let mut written = 0;
        for (client, place) in self.clients.iter_mut().zip(&mut self.places) {
            if place.writable {
                let rest = &self.chunk[place.offset..];
                let count = client.try_write(rest)?.unwrap_or(0);
                place.writable = count == rest.len();
                place.offset = (place.offset + count) % self.chunk.len();
                written += count;
            }
        }
        Ok(written)
    }

    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.places.iter().any(|place| place.writable).then_some(Duration::ZERO);
        self.poll.poll(&mut self.events, timeout)?;
        for event in &self.events {
            self.places[event.token().0].writable = true;
        }
        Ok(())
    }

    /// Writes what is missing of packets that were written in part.
    fn complete(&mut self) -> io::Result<usize> {
        let mut written = 0;
        for (client, place) in self.clients.iter_mut().zip(&mut self.places) {
            let end = place.offset.next_multiple_of(self.packet_size);
            client.write(&self.chunk[place.offset..end])?;
            written += end - place.offset;
            place.offset = end % self.chunk.len();
        }
        Ok(written)
    }
}

/// One of each topic, which have the same length.
fn packets(size: usize, topics: usize) -> Vec<u8> {
    if topics == 1 {
        return packet::publish("ignore", size);
    }
    let digits = (topics - 1).to_string().len();
    (0..topics)
        .flat_map(|topic| packet::publish(&format!("ignore/{topic:0digits$}"), size))
        .collect()
}

impl Workload for Flood {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        let end = Instant::now() + duration;
        let mut written = 0;
        self.clients.iter().try_for_each(|client| client.set_blocking(false))?;
        while Instant::now() < end {
            written += self.write_round()?;
            self.wait()?;
        }
        self.clients.iter().try_for_each(|client| client.set_blocking(true))?;
        written += self.complete()?;
        Client::settle(&mut self.clients)?;
        self.places.iter_mut().for_each(|place| place.writable = true);
        Ok(Outcome { messages: (written / self.packet_size) as u64, latency: None })
    }

    fn connections(&self) -> usize {
        self.clients.len()
    }
}
