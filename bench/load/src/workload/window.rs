//! Messages that are on the way and come in any order.

use crate::packet::unexpected;
use crate::template::Template;
use std::io;
use std::time::Instant;

/// So many are on the way at most, of each publisher an equal share. Each has a place, which is its number
/// modulo the window's size: the next with this place has another number, so that one that comes twice is
/// noticed.
pub(super) struct Window {
    template: Template<{ size_of::<u64>() }>,
    places: Vec<Place>,
    /// Those of no message that is on the way, for each publisher: the places modulo their number are its
    /// own.
    free: Vec<Vec<usize>>,
    on_the_way: usize,
}

struct Place {
    /// Of the message that is on the way, or will be next.
    number: u64,
    written: Instant,
}

impl Window {
    /// Of messages as this packet, which ends with a payload of this size.
    pub(super) fn new(
        packet: Vec<u8>,
        payload_size: usize,
        size: usize,
        publishers: usize,
    ) -> io::Result<Self> {
        let place = |number| Place { number, written: Instant::now() };
        Ok(Self {
            template: Template::new(packet, payload_size)?,
            places: (0..size as u64).map(place).collect(),
            free: (0..publishers)
                .map(|first| (first..size).step_by(publishers).collect())
                .collect(),
            on_the_way: 0,
        })
    }

    pub(super) fn message_size(&self) -> usize {
        self.template.size()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.on_the_way == 0
    }

    /// Appends as many messages as the publisher may send.
    pub(super) fn append(&mut self, publisher: usize, output: &mut Vec<u8>) {
        let now = Instant::now();
        while let Some(index) = self.free[publisher].pop() {
            self.on_the_way += 1;
            let place = &mut self.places[index];
            place.written = now;
            self.template.append(place.number.to_be_bytes(), output);
        }
    }

    /// When the message was written that is at the front of what has come, if it has come whole.
    pub(super) fn take(&mut self, input: &[u8]) -> io::Result<Option<Instant>> {
        let Some(number) = self.template.take(input)?.map(u64::from_be_bytes) else {
            return Ok(None);
        };
        let size = self.places.len() as u64;
        let index = (number % size) as usize;
        let place = &mut self.places[index];
        if number != place.number {
            return Err(unexpected(input));
        }
        place.number += size;
        let publisher = index % self.free.len();
        self.free[publisher].push(index);
        self.on_the_way -= 1;
        Ok(Some(place.written))
    }
}
