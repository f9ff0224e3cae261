//! The subscriptions that a session keeps.

use crate::message::Message;
use crate::router::{Matches, Router, Strategy, SubscriberId, Subscription, behind_share};
use crate::session::{Dropped, Granted, Session};
use std::collections::BTreeMap;

/// What a subscription takes beside its filter, about.
const SUBSCRIPTION: usize = 64;
/// Levels that the filters may have on average, if there are as many as may be: a router keeps a node for each.
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

    /// Removes the subscriptions to filters that the client may not have any more, with what waits of them and of no
    /// other. Gives these filters, and the messages that another member of a group may get.
    pub fn revoke(&mut self, may: impl Fn(&str) -> bool) -> (Vec<String>, Vec<Message>) {
        let filters = self.subscriptions().map(|(filter, _)| filter);
        let revoked: Vec<String> = filters.filter(|filter| !may(filter)).map(Into::into).collect();
        if revoked.is_empty() {
            return (revoked, Vec::new());
        }
        for filter in &revoked {
            self.unsubscribe(filter);
        }
        // Where a router has let them in, a message is compared with few, however many there are.
        let mut router = Router::unlimited(Strategy::default());
        let (gone, left) = (SubscriberId(0), SubscriberId(1));
        let revoked_filters = revoked.iter().map(|filter| (filter.as_str(), gone));
        let others = self.subscriptions().map(|(filter, _)| (filter, left));
        for (filter, whose) in revoked_filters.chain(others) {
            let plain = behind_share(filter, true).unwrap_or(filter);
            router.subscribe(plain, false, whose, Subscription::default());
        }
        let mut matches = Matches::new();
        let mut goes = |message: &Message| {
            router.matches(message.publish().topic, None, &mut matches);
            let mut found = matches.iter();
            found.next().is_some_and(|found| found.subscriber == gone) && found.next().is_none()
        };
        let mut of_groups = Vec::new();
        for message in self.take_waiting(&mut goes) {
            self.bytes -= message.size();
            if message.group.is_some() {
                of_groups.push(message);
            } else {
                self.lose(message, Dropped::NotAuthorized);
            }
        }
        self.others_wait();
        (revoked, of_groups)
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
