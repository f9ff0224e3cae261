//! Those whom a message goes to that a call has no time for: found a few at a time, if they are very many, and looked up
//! a few at a time.

use super::To;
use crate::routing::{Hub, LOOKED_UP};
use mqtt_codec::Publish;
use mqtt_core::router::{Found, Gathering, GroupId};
use std::ops::Range;
use std::sync::Arc;

/// Subscriptions that are looked at before it is asked whether a call has done enough.
pub(super) const GATHERED: usize = 4096;

/// Those whom a message goes to that have not been looked up, since they are so many.
pub(crate) struct Rest {
    hub: Arc<Hub>,
    /// Finds them first, if there are more than are found at once.
    gathering: Option<Box<Gathering>>,
    found: Found,
    left: Range<usize>,
    /// Groups, and what chooses a member where that depends on the publisher.
    groups: Vec<GroupId>,
    key: u64,
    /// How often a subscriber had come when they were found.
    joined: u64,
}

impl Rest {
    pub(crate) fn new(
        hub: Arc<Hub>,
        gathering: Option<Box<Gathering>>,
        (found, left): (Found, Range<usize>),
        (groups, key): (Vec<GroupId>, u64),
        joined: u64,
    ) -> Self {
        Self { hub, gathering, found, left, groups, key, joined }
    }

    pub(super) fn len(&self) -> usize {
        self.left.len() + self.groups.len()
    }

    /// How many subscriptions are to be looked at before it is known to how many it goes besides.
    pub(super) fn subscriptions(&self) -> usize {
        self.gathering.as_ref().map_or(0, |gathering| gathering.len())
    }

    /// Looks at some of these, if there are any. Says how many it goes to, when these were all.
    pub(super) fn gather(&mut self) -> Option<usize> {
        if !self.gathering.as_mut()?.gather(GATHERED) {
            return Some(0);
        }
        self.found = self.gathering.take()?.into_found();
        self.left = 0..self.found.len();
        self.hub.count(0, self.found.len());
        Some(self.found.len())
    }

    /// Looks some up, and says whether there were any left.
    pub(super) fn look_up(&mut self, publish: &Publish<'_>, deliveries: &mut Vec<To>) -> bool {
        let tables = self.hub.tables();
        if !self.left.is_empty() {
            let Self { found, left, joined, .. } = self;
            left.start += tables.look_up(found, left.start, *joined, publish, deliveries);
            return true;
        }
        let some = self.groups.split_off(self.groups.len().saturating_sub(LOOKED_UP));
        tables.look_up_groups(&some, self.key, publish, deliveries);
        !some.is_empty()
    }
}
