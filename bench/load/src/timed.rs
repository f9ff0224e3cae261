//! A message that tells its time.

use crate::packet::{self, unexpected};
use std::io;
use std::time::{Duration, Instant};

/// A PUBLISH of QoS 0 whose payload starts with a time, in nanoseconds since an epoch. All that have
/// a topic and a size are of the same length, and come in the order in which they were sent.
pub(crate) struct Timed {
    packet: Vec<u8>,
    /// Where the time is.
    time: usize,
    epoch: Instant,
    /// The time of the one that came last.
    last: u64,
}

const TIME_SIZE: usize = size_of::<u64>();

impl Timed {
    pub(crate) fn new(topic: &str, size: usize, epoch: Instant) -> io::Result<Self> {
        let packet = packet::publish(topic, size);
        if size < TIME_SIZE {
            return Err(io::Error::other("a message has to be of 8 bytes at least"));
        }
        Ok(Self { time: packet.len() - size, packet, epoch, last: 0 })
    }

    pub(crate) fn size(&self) -> usize {
        self.packet.len()
    }

    /// Appends one of this time.
    pub(crate) fn append(&self, time: Instant, output: &mut Vec<u8>) {
        let time = time.saturating_duration_since(self.epoch).as_nanos() as u64;
        output.extend_from_slice(&self.packet[..self.time]);
        output.extend_from_slice(&time.to_be_bytes());
        output.extend_from_slice(&self.packet[self.time + TIME_SIZE..]);
    }

    /// The time of the one at the front of what has come, if it has come whole. It fails with any other
    /// packet, and with a message that is older than the one before.
    pub(crate) fn take(&mut self, input: &[u8]) -> io::Result<Option<Instant>> {
        let Some(packet) = input.get(..self.packet.len()) else { return Ok(None) };
        let (head, rest) = packet.split_at(self.time);
        let (time, rest) = rest.split_at(TIME_SIZE);
        let same = head == &self.packet[..self.time] && self.packet.ends_with(rest);
        let time = time.try_into().map_or(0, u64::from_be_bytes);
        if !same || time < self.last {
            return Err(unexpected(packet));
        }
        self.last = time;
        Ok(Some(self.epoch + Duration::from_nanos(time)))
    }
}
