//! The subscriptions: of which subscriber, to which filter, and where among the filter's.

use super::SubscriberId;
use super::index::Index;
use super::seed::Seed;
use super::slab::{NONE, Slab};

#[derive(Debug, Default)]
struct Entry {
    filter: u32,
    subscriber: u32,
    position: u32,
    /// The neighbours among those of the same subscriber.
    previous: u32,
    next: u32,
}

#[derive(Debug)]
pub(super) struct Entries {
    slab: Slab<Entry>,
    index: Index,
    /// The newest entry of each subscriber.
    newest: Vec<u32>,
    seed: Seed,
}

impl Entries {
    pub(super) fn new(seed: Seed) -> Self {
        Self { slab: Slab::new(), index: Index::default(), newest: Vec::new(), seed }
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// The position among the filter's members.
    pub(super) fn position(&self, filter: u32, subscriber: SubscriberId) -> Option<u32> {
        let id = self.index.find(self.hash(filter, subscriber), self.is(filter, subscriber))?;
        self.slab.get(id).map(|entry| entry.position)
    }

    pub(super) fn set_position(&mut self, filter: u32, subscriber: SubscriberId, position: u32) {
        let hash = self.hash(filter, subscriber);
        if let Some(id) = self.index.find(hash, self.is(filter, subscriber))
            && let Some(entry) = self.slab.get_mut(id)
        {
            entry.position = position;
        }
    }

    /// Adds an entry that is not there.
    pub(super) fn insert(&mut self, filter: u32, subscriber: SubscriberId, position: u32) {
        let hash = self.hash(filter, subscriber);
        let next = self.newest(subscriber);
        let entry = Entry { filter, subscriber: subscriber.0, position, previous: NONE, next };
        let id = self.slab.insert(entry);
        let Self { slab, index, seed, newest } = self;
        let rehash = |&id: &u32| {
            let entry = slab.get(id);
            entry.map_or(0, |entry| seed.pair(entry.filter, u64::from(entry.subscriber)))
        };
        index.insert(hash, id, rehash);
        if let Some(next) = slab.get_mut(next) {
            next.previous = id;
        }
        let index = subscriber.0 as usize;
        if newest.len() <= index {
            newest.resize(index + 1, NONE);
        }
        if let Some(newest) = newest.get_mut(index) {
            *newest = id;
        }
    }

    /// Removes an entry and tells its position.
    pub(super) fn remove(&mut self, filter: u32, subscriber: SubscriberId) -> Option<u32> {
        let hash = self.hash(filter, subscriber);
        let is = |&id: &u32| is_entry(&self.slab, id, filter, subscriber);
        let id = self.index.remove(hash, is)?;
        let Entry { previous, next, position, .. } = self.slab.remove(id)?;
        if let Some(next) = self.slab.get_mut(next) {
            next.previous = previous;
        }
        if let Some(previous) = self.slab.get_mut(previous) {
            previous.next = next;
        } else if let Some(newest) = self.newest.get_mut(subscriber.0 as usize) {
            *newest = next;
        }
        Some(position)
    }

    /// The filters of a subscriber with its positions, the newest first.
    pub(super) fn of(&self, subscriber: SubscriberId) -> impl Iterator<Item = (u32, u32)> {
        let newest = self.slab.get(self.newest(subscriber));
        core::iter::successors(newest, |entry| self.slab.get(entry.next))
            .map(|entry| (entry.filter, entry.position))
    }

    pub(super) fn bytes(&self) -> usize {
        self.slab.bytes() + self.index.bytes() + self.newest.capacity() * size_of::<u32>()
    }

    fn newest(&self, subscriber: SubscriberId) -> u32 {
        self.newest.get(subscriber.0 as usize).copied().unwrap_or(NONE)
    }

    fn hash(&self, filter: u32, subscriber: SubscriberId) -> u64 {
        self.seed.pair(filter, u64::from(subscriber.0))
    }

    fn is(&self, filter: u32, subscriber: SubscriberId) -> impl Fn(&u32) -> bool {
        move |&id| is_entry(&self.slab, id, filter, subscriber)
    }
}

fn is_entry(slab: &Slab<Entry>, id: u32, filter: u32, subscriber: SubscriberId) -> bool {
    slab.get(id).is_some_and(|entry| entry.filter == filter && entry.subscriber == subscriber.0)
}
