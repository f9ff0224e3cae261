//! A packet that is too large for the buffers, in the binary that it becomes.

use rustler::OwnedBinary;

/// How much more memory than bytes that have come a large packet may take.
const AHEAD: usize = 4;

/// A large packet that is on its way.
pub(super) struct Large {
    pub(super) binary: OwnedBinary,
    pub(super) filled: usize,
    pub(super) total: usize,
}

impl Large {
    pub(super) fn new(part: &[u8], total: usize, largest: usize) -> Self {
        let size = room_for(part.len(), largest, total);
        let mut large = Self { binary: OwnedBinary::new(size), filled: 0, total };
        large.extend(part);
        large
    }

    pub(super) fn is_complete(&self) -> bool {
        self.filled == self.total
    }

    /// Makes room for what may come next.
    pub(super) fn grow(&mut self, largest: usize) {
        if self.binary.len() == self.filled {
            self.resize(room_for(self.filled, largest, self.total));
        }
    }

    fn resize(&mut self, size: usize) {
        if !self.binary.realloc(size) {
            let mut larger = OwnedBinary::new(size);
            if let (Some(to), Some(from)) = (
                larger.as_mut_slice().get_mut(..self.filled),
                self.binary.as_slice().get(..self.filled),
            ) {
                to.copy_from_slice(from);
            }
            self.binary = larger;
        }
    }

    pub(super) fn room(&mut self) -> &mut [u8] {
        self.binary.as_mut_slice().get_mut(self.filled..).unwrap_or_default()
    }

    /// Takes from `data` what belongs to the packet, and says how much that was.
    pub(super) fn extend(&mut self, data: &[u8]) -> usize {
        let taken = data.len().min(self.total - self.filled);
        if self.binary.len() < self.filled + taken {
            self.resize(self.filled + taken);
        }
        if let (Some(to), Some(from)) = (self.room().get_mut(..taken), data.get(..taken)) {
            to.copy_from_slice(from);
        }
        self.filled += taken;
        taken
    }
}

/// The memory that a packet of `total` bytes may take once `received` of them have come.
fn room_for(received: usize, largest: usize, total: usize) -> usize {
    (received * AHEAD).max(largest).min(total)
}
