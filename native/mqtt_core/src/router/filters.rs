//! The filters that somebody has subscribed to. Those that are not in the tree are found by their text.

use super::GroupId;
use super::index::Index;
use super::members::Members;
use super::seed::Seed;
use super::slab::{NONE, Slab};
use super::text::Text;
use core::sync::atomic::AtomicU32;

#[derive(Debug, Default)]
pub(super) struct Filter {
    /// With its `$share/` and group, if it is a shared subscription's.
    pub(super) text: Text,
    pub(super) members: Members,
    pub(super) links: Option<Box<Links>>,
}

/// How shared subscriptions and the filters behind their groups find each other.
#[derive(Debug)]
pub(super) enum Links {
    /// The groups of an ordinary filter.
    Groups(Vec<GroupId>),
    Group(Group),
}

/// A group of a shared subscription.
#[derive(Debug)]
pub(super) struct Group {
    /// The filter behind it, and the place among its groups.
    pub(super) filter: u32,
    pub(super) place: u32,
    /// No other group has had it.
    pub(super) serial: u32,
    /// Whose turn it is.
    pub(super) turn: AtomicU32,
    /// The member that was chosen last while online.
    pub(super) last: AtomicU32,
}

impl Group {
    pub(super) const fn new(filter: u32, place: u32, serial: u32) -> Self {
        Self { filter, place, serial, turn: AtomicU32::new(0), last: AtomicU32::new(NONE) }
    }
}

impl Filter {
    pub(super) fn group(&self) -> Option<&Group> {
        match self.links.as_deref() {
            Some(Links::Group(group)) => Some(group),
            _ => None,
        }
    }

    pub(super) fn groups(&self) -> &[GroupId] {
        match self.links.as_deref() {
            Some(Links::Groups(groups)) => groups,
            _ => &[],
        }
    }

    pub(super) fn is_unused(&self) -> bool {
        self.members.len() == 0 && self.groups().is_empty()
    }
}

#[derive(Debug)]
pub(super) struct Filters {
    slab: Slab<Filter>,
    /// Those of shared subscriptions, and those without wildcards.
    index: Index,
    seed: Seed,
    texts: usize,
}

impl Filters {
    pub(super) fn new(seed: Seed) -> Self {
        Self { slab: Slab::new(), index: Index::default(), seed, texts: 0 }
    }

    /// A shared subscription's filter differs from an ordinary one of the same text, which a client
    /// of MQTT 3.1.1 may have.
    pub(super) fn find(&self, text: &str, shared: bool) -> Option<u32> {
        let text = text.as_bytes();
        let same = |&id: &u32| {
            let filter = self.slab.get(id);
            filter.is_some_and(|filter| {
                filter.text.as_bytes() == text && filter.group().is_some() == shared
            })
        };
        self.index.find(self.seed.text(text), same)
    }

    /// Adds a filter that is not there, and is not found by its text.
    pub(super) fn insert(&mut self, text: &str) -> u32 {
        self.add(text, None)
    }

    /// Adds a filter that is not there.
    pub(super) fn insert_indexed(&mut self, text: &str, links: Option<Box<Links>>) -> u32 {
        let id = self.add(text, links);
        let Self { slab, index, seed, .. } = self;
        let rehash = |&id: &u32| slab.get(id).map_or(0, |filter| seed.text(filter.text.as_bytes()));
        index.insert(seed.text(text.as_bytes()), id, rehash);
        id
    }

    fn add(&mut self, text: &str, links: Option<Box<Links>>) -> u32 {
        let filter = Filter { text: Text::new(text), members: Members::None, links };
        self.texts += filter.text.heap_bytes();
        self.slab.insert(filter)
    }

    pub(super) fn get(&self, id: u32) -> Option<&Filter> {
        self.slab.get(id)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Filter> {
        self.slab.get_mut(id)
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Filter> {
        let filter = self.slab.remove(id)?;
        self.texts -= filter.text.heap_bytes();
        Some(filter)
    }

    pub(super) fn remove_from_index(&mut self, id: u32, text: &Text) {
        let hash = self.seed.text(text.as_bytes());
        self.index.remove(hash, |&other| other == id);
    }

    pub(super) fn bytes(&self) -> usize {
        self.slab.bytes() + self.index.bytes() + self.texts
    }
}
