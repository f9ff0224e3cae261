//! Messages of one connection to many.

use super::{Outcome, Workload};
use crate::client::{Client, PATIENCE};
use crate::packet;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// A subscriber's messages are read so many bytes at once.
const BUFFER: usize = 64 * 1024;

pub(crate) struct FanOut {
    poll: Poll,
    events: Events,
    publisher: Client,
    subscribers: Vec<Client>,
    packet: Vec<u8>,
    window: usize,
    buffer: Box<[u8]>,
}

impl FanOut {
    pub(crate) fn start(
        port: u16,
        subscribers: usize,
        size: usize,
        window: usize,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut clients = Client::connect_many(port, subscribers)?;
        for (number, client) in clients.iter_mut().enumerate() {
            client.subscribe("fan-out")?;
            client.set_blocking(false)?;
            let fd = client.as_raw_fd();
            poll.registry().register(&mut SourceFd(&fd), Token(number), Interest::READABLE)?;
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(subscribers),
            publisher: Client::connect(port, "publisher")?,
            subscribers: clients,
            packet: packet::publish("fan-out", size),
            window,
            buffer: vec![0; BUFFER].into_boxed_slice(),
        })
    }

    /// Waits for deliveries, and says how many bytes have come.
    fn receive(&mut self) -> io::Result<usize> {
        let mut received = 0;
        self.poll.poll(&mut self.events, Some(PATIENCE))?;
        if self.events.is_empty() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        for event in &self.events {
            let subscriber = &mut self.subscribers[event.token().0];
            // A read that does not fill the buffer has read everything.
            while let Some(read) = subscriber.try_read(&mut self.buffer)? {
                received += read;
                if read < self.buffer.len() {
                    break;
                }
            }
        }
        Ok(received)
    }
}

impl Workload for FanOut {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        let end = Instant::now() + duration;
        let message_size = self.packet.len() * self.subscribers.len();
        let full_window = self.packet.repeat(self.window);
        let (mut published, mut received) = (0, 0);
        loop {
            let on_the_way = (published * message_size - received).div_ceil(message_size);
            if Instant::now() < end {
                let due = self.window - on_the_way;
                self.publisher.write(&full_window[..due * self.packet.len()])?;
                published += due;
            } else if on_the_way == 0 {
                let messages = (received / self.packet.len()) as u64;
                return Ok(Outcome { messages, latency: None });
            }
            received += self.receive()?;
        }
    }

    fn connections(&self) -> usize {
        self.subscribers.len() + 1
    }
}
