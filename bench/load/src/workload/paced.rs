//! A fixed rate of messages over many connections, as from many clients that know nothing of each
//! other: when a message is due depends on the clock alone, and not on the server.

use super::echoer::{self, Echoer};
use super::peers::Peers;
use super::{Figure, Outcome, Workload};
use crate::Server;
use crate::latency::{Latency, Shared};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Each message comes back to the connection that sent it. Its latency is counted from when it was
/// due, so that one that could not be sent in time because the server, or the machine, was busy has
/// waited [coordinated omission].
pub(crate) struct Paced {
    peers: Peers<Echoer>,
    latency: Shared,
    /// Expires once an interval, which is too short for the timeout of a poll.
    timer: OwnedFd,
    interval: Duration,
    rate: u32,
    /// What became of it, of the interval that was measured last.
    achieved: f64,
    /// The peer whose turn it is.
    next: usize,
}

impl Paced {
    pub(crate) fn start(
        server: Server,
        connections: usize,
        size: usize,
        rate: u32,
    ) -> io::Result<Self> {
        let (echoers, latency) = echoer::connect(server, connections, size)?;
        let peers = Peers::new(echoers)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        peers.register(timer.as_raw_fd())?;
        let interval = Duration::from_secs(1) / rate;
        Ok(Self { peers, latency, timer, interval, rate, achieved: 0.0, next: 0 })
    }

    /// Sends each message when it is due, or as soon as possible thereafter.
    fn send_until(&mut self, end: Instant) -> io::Result<()> {
        let mut due = Instant::now();
        self.set_timer(self.interval)?;
        while due < end {
            while due <= Instant::now() && due < end {
                let peer = self.peers.get(self.next);
                peer.dialogue.publish(due, &mut peer.output);
                peer.write(false)?;
                self.next = (self.next + 1) % self.peers.len();
                due += self.interval;
            }
            if self.peers.advance(false)? {
                self.clear_timer()?;
            }
        }
        self.set_timer(Duration::ZERO)
    }

    /// Zero stops it.
    fn set_timer(&self, interval: Duration) -> io::Result<()> {
        let interval = Timespec::try_from(interval).map_err(io::Error::other)?;
        let times = Itimerspec { it_interval: interval, it_value: interval };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &times)?;
        Ok(())
    }

    /// It starts again with being read.
    fn clear_timer(&self) -> io::Result<()> {
        match rustix::io::read(&self.timer, &mut [0; 8]) {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Workload for Paced {
    fn run(&mut self, duration: Duration) -> io::Result<Outcome> {
        let before = self.peers.completed();
        self.peers.set_blocking(false)?;
        let start = Instant::now();
        self.send_until(start + duration)?;
        while !self.peers.is_idle() {
            self.peers.advance(false)?;
        }
        let messages = self.peers.completed() - before;
        self.achieved = messages as f64 / start.elapsed().as_secs_f64();
        self.peers.settle()?;
        Ok(Outcome { messages, latency: Some(Latency::take(&self.latency)?) })
    }

    fn connections(&self) -> usize {
        self.peers.len()
    }

    fn finish(&mut self) -> io::Result<Vec<Figure>> {
        Ok(vec![("target".to_owned(), self.rate.into()), ("achieved".to_owned(), self.achieved)])
    }
}
