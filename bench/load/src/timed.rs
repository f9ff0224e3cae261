//! A message that tells its time.

use crate::packet::{self, unexpected};
use crate::template::Template;
use std::io;
use std::time::{Duration, Instant};

/// A PUBLISH of QoS 0 whose payload starts with a time, in nanoseconds since an epoch. All that have
/// a topic and a size are of the same length, and come in the order in which they were sent. No two of one publisher have the
/// same time: the later one of two tells that it is a nanosecond later.
pub(crate) struct Timed {
    template: Template<{ size_of::<u64>() }>,
    epoch: Instant,
    /// The time of the one that was sent or came last.
    last: u64,
}

impl Timed {
    pub(crate) fn new(topic: &str, size: usize, epoch: Instant) -> io::Result<Self> {
        let template = Template::new(packet::publish(topic, size), size)?;
        Ok(Self { template, epoch, last: 0 })
    }

    pub(crate) fn size(&self) -> usize {
        self.template.size()
    }

    /// Appends one of this time.
    pub(crate) fn append(&mut self, time: Instant, output: &mut Vec<u8>) {
        let time = time.saturating_duration_since(self.epoch).as_nanos() as u64;
        let time = time.max(self.last + 1);
        self.last = time;
        self.template.append(time.to_be_bytes(), output);
    }

    /// The time of the one at the front of what has come, if it has come whole. It fails with any other
    /// packet, and with a message that is not newer than the one before.
    pub(crate) fn take(&mut self, input: &[u8]) -> io::Result<Option<Instant>> {
        let Some(time) = self.template.take(input)?.map(u64::from_be_bytes) else {
            return Ok(None);
        };
        if time <= self.last {
            return Err(unexpected(input));
        }
        self.last = time;
        Ok(Some(self.epoch + Duration::from_nanos(time)))
    }
}
