//! The subscriptions that a session keeps.

use crate::session::{Granted, Session};
use std::collections::BTreeMap;

/// What a subscription takes beside its filter, about.
const SUBSCRIPTION: usize = 64;
/// Levels that the filters may have on average, if there are as many as may be: a router may go through all of them for a message.
const LEVELS: usize = 16;

fn levels(filter: &str) -> usize {
    1 + filter.bytes().filter(|&byte| byte == b'/').count()
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Subscriptions {
    filters: BTreeMap<Box<str>, Granted>,
    /// The memory that they take, and the levels that they have together.
    bytes: usize,
    levels: usize,
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        self.filters.len()
    }

    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.bytes
    }
}

impl Session {
    /// The subscriptions by their filters, if they are kept.
    pub fn subscriptions(&self) -> impl Iterator<Item = (&str, Granted)> {
        let filters = self.subscriptions.iter().flat_map(|subscriptions| &subscriptions.filters);
        filters.map(|(filter, granted)| (&**filter, *granted))
    }

    /// Adds a subscription, or changes it, if they are kept. Says whether there is room for it, in their number and that of their levels,
    /// of which there are 16 for each.
    pub fn subscribe(&mut self, filter: &str, granted: Granted) -> bool {
        let Some(subscriptions) = &mut self.subscriptions else { return true };
        if let Some(subscription) = subscriptions.filters.get_mut(filter) {
            *subscription = granted;
            return true;
        }
        let most = self.limits.subscriptions;
        let room = subscriptions.len() < most
            && subscriptions.levels + levels(filter) <= most.saturating_mul(LEVELS)
            && subscriptions.bytes < self.limits.bytes;
        if room {
            subscriptions.filters.insert(filter.into(), granted);
            subscriptions.bytes += filter.len() + SUBSCRIPTION;
            subscriptions.levels += levels(filter);
        }
        room
    }

    /// Removes a subscription.
    pub fn unsubscribe(&mut self, filter: &str) {
        let Some(subscriptions) = &mut self.subscriptions else { return };
        if subscriptions.filters.remove(filter).is_some() {
            subscriptions.bytes -= filter.len() + SUBSCRIPTION;
            subscriptions.levels -= levels(filter);
        }
    }

    pub(crate) fn clear_subscriptions(&mut self) {
        if let Some(subscriptions) = &mut self.subscriptions {
            **subscriptions = Subscriptions::default();
        }
    }

    /// Whether subscriptions are kept.
    #[must_use]
    pub const fn keeps_subscriptions(&self) -> bool {
        self.subscriptions.is_some()
    }
}
