//! Numbers of values by the hashes of those values.

use hashbrown::HashTable;

/// Into so many parts an index is divided, which grow each on their own: where one of a million
/// numbers grew, everybody would wait for a tenth of a second.
const PARTS: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Index {
    parts: Vec<HashTable<u32>>,
}

impl Index {
    pub(super) fn find(&self, hash: u64, is: impl FnMut(&u32) -> bool) -> Option<u32> {
        self.parts.get(part(hash))?.find(hash, is).copied()
    }

    /// Adds a number that is not there.
    pub(super) fn insert(&mut self, hash: u64, id: u32, rehash: impl Fn(&u32) -> u64) {
        if self.parts.is_empty() {
            self.parts.resize_with(PARTS, HashTable::new);
        }
        if let Some(part) = self.parts.get_mut(part(hash)) {
            part.insert_unique(hash, id, rehash);
        }
    }

    pub(super) fn remove(&mut self, hash: u64, is: impl FnMut(&u32) -> bool) -> Option<u32> {
        let entry = self.parts.get_mut(part(hash))?.find_entry(hash, is).ok()?;
        Some(entry.remove().0)
    }

    pub(super) fn bytes(&self) -> usize {
        let parts = self.parts.iter().map(HashTable::allocation_size);
        parts.sum::<usize>() + self.parts.capacity() * size_of::<HashTable<u32>>()
    }
}

/// By bits that the tables do not look at, which are the lowest and the topmost seven.
const fn part(hash: u64) -> usize {
    (hash >> 48) as usize % PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_it_is_found() {
        let hash = |id: u32| u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut index = Index::default();
        assert_eq!((index.find(0, |_| true), index.bytes()), (None, 0));
        for id in 0..10_000 {
            index.insert(hash(id), id, |&id| hash(id));
        }
        assert_eq!(index.remove(hash(7), |&id| id == 7), Some(7));
        for id in 0..10_001 {
            let expected = (id != 7 && id < 10_000).then_some(id);
            assert_eq!(index.find(hash(id), |&other| other == id), expected);
        }
        let sizes = index.parts.iter().map(HashTable::len);
        assert!(sizes.clone().min() > Some(100) && sizes.max() < Some(250));
    }
}
