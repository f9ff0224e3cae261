//! A message of which some bytes are other ones each time.

use crate::packet::unexpected;
use std::io;

/// A PUBLISH of which `N` bytes differ from message to message, so all have the same length.
pub(crate) struct Template<const N: usize> {
    packet: Vec<u8>,
    /// Where the bytes are.
    place: usize,
}

impl<const N: usize> Template<N> {
    /// They start so many bytes before the packet's end.
    pub(crate) fn new(packet: Vec<u8>, from_end: usize) -> io::Result<Self> {
        if from_end < N {
            let missing = N - from_end;
            return Err(io::Error::other(format!("a message has to have {missing} bytes more")));
        }
        Ok(Self { place: packet.len() - from_end, packet })
    }

    pub(crate) fn size(&self) -> usize {
        self.packet.len()
    }

    /// Appends one with these bytes.
    pub(crate) fn append(&self, bytes: [u8; N], output: &mut Vec<u8>) {
        output.extend_from_slice(&self.packet[..self.place]);
        output.extend_from_slice(&bytes);
        output.extend_from_slice(&self.packet[self.place + N..]);
    }

    /// The bytes of the one at the front of what has come, if it has come whole. It fails with any other
    /// packet.
    pub(crate) fn take(&self, input: &[u8]) -> io::Result<Option<[u8; N]>> {
        let Some(packet) = input.get(..self.packet.len()) else { return Ok(None) };
        let (head, rest) = packet.split_at(self.place);
        match rest.split_first_chunk() {
            Some((bytes, rest)) if self.packet.starts_with(head) && self.packet.ends_with(rest) => {
                Ok(Some(*bytes))
            }
            _ => Err(unexpected(packet)),
        }
    }
}
