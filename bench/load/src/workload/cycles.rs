//! Connections that come and go.

use crate::client::PATIENCE;
use crate::latency::Latency;
use crate::packet;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use mqtt_codec::Version;
use rustix::net::sockopt::set_socket_linger;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// A cycle is a TCP connection on which CONNECT is sent, CONNACK comes, DISCONNECT is sent, and the
/// server closes [MQTT-3.14.4-1]. Many are under way at a time.
pub(super) struct Cycles {
    server: SocketAddr,
    poll: Poll,
    events: Events,
    /// The CONNECT of each that is under way at a time.
    connects: Vec<Vec<u8>>,
}

struct Cycle {
    stream: TcpStream,
    start: Instant,
    phase: Phase,
}

enum Phase {
    Connecting,
    /// So many bytes of CONNACK have come.
    Connack(usize),
    Disconnecting,
}

impl Cycles {
    pub(super) fn start(port: u16, parallel: usize) -> io::Result<Self> {
        Ok(Self {
            server: (Ipv4Addr::LOCALHOST, port).into(),
            poll: Poll::new()?,
            events: Events::with_capacity(parallel),
            connects: (0..parallel)
                .map(|id| packet::connect(Version::V3_1_1, &format!("client-{id}")))
                .collect(),
        })
    }

    /// Starts cycles while `more` says so of the number of those before, and ends them. The latency is
    /// from opening the TCP connection to CONNACK.
    pub(super) fn run(&mut self, mut more: impl FnMut(u64) -> bool) -> io::Result<Latency> {
        let mut latency = Latency::new()?;
        let mut cycles = Vec::with_capacity(self.connects.len());
        let (mut started, mut ended) = (0, 0);
        for place in 0..self.connects.len() {
            if more(started) {
                cycles.push(self.open(place)?);
                started += 1;
            }
        }
        while ended < started {
            self.poll.poll(&mut self.events, Some(PATIENCE))?;
            if self.events.is_empty() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            for event in &self.events {
                let place = event.token().0;
                if !cycles[place].advance(event, &self.connects[place], &mut latency)? {
                    continue;
                }
                ended += 1;
                if more(started) {
                    cycles[place] = self.open(place)?;
                    started += 1;
                }
            }
        }
        Ok(latency)
    }

    fn open(&self, place: usize) -> io::Result<Cycle> {
        let start = Instant::now();
        let mut stream = TcpStream::connect(self.server)?;
        // The server closes first. Closing without lingering then resets what is left of the connection,
        // so that neither side keeps its port in TIME-WAIT.
        set_socket_linger(&stream, Some(Duration::ZERO))?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(place), interest)?;
        Ok(Cycle { stream, start, phase: Phase::Connecting })
    }
}

impl Cycle {
    /// Whether it has ended.
    fn advance(
        &mut self,
        event: &Event,
        connect: &[u8],
        latency: &mut Latency,
    ) -> io::Result<bool> {
        if let Phase::Connecting = self.phase {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            if event.is_writable() {
                self.stream.write_all(connect)?;
                self.phase = Phase::Connack(0);
            }
            return Ok(false);
        }
        let mut buffer = [0; packet::CONNACK.len()];
        loop {
            let read = match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                read => read?,
            };
            match self.phase {
                Phase::Disconnecting if read == 0 => return Ok(true),
                Phase::Connack(had) if read > 0 => {
                    let has = had + read;
                    if packet::CONNACK.get(had..has) != Some(&buffer[..read]) {
                        return Err(io::Error::other(format!("no CONNACK: {buffer:02X?}")));
                    }
                    self.phase = Phase::Connack(has);
                    if has == packet::CONNACK.len() {
                        latency.record(self.start.elapsed());
                        self.stream.write_all(&packet::DISCONNECT)?;
                        self.phase = Phase::Disconnecting;
                    }
                }
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}
