//! Which subscribers a message goes to (sections 4.7 and 4.8).
//!
//! ```
//! use mqtt_codec::Qos;
//! use mqtt_core::router::{Matches, Router, Strategy, Subscribed, SubscriberId, Subscription};
//!
//! let mut router = Router::new(Strategy::LeastLoaded);
//! let (anna, ben) = (SubscriberId(0), SubscriberId(1));
//! let at_least_once = Subscription { qos: Qos::AtLeastOnce, ..Subscription::default() };
//! let subscribed = router.subscribe("plant/+/status", false, anna, at_least_once);
//! assert_eq!(subscribed, Some(Subscribed::New));
//! router.subscribe("plant/#", false, anna, Subscription::default());
//! router.subscribe("$share/workers/plant/#", true, ben, Subscription::default());
//!
//! let mut matches = Matches::new();
//! router.matches("plant/7/status", None, &mut matches);
//! let found: Vec<_> = matches.iter().map(|found| (found.subscriber, found.qos)).collect();
//! assert_eq!(found, [(anna, Qos::AtLeastOnce)]);
//! let worker = router.choose(matches.groups()[0], 0, |_| Some(0));
//! assert_eq!(worker.map(|found| found.subscriber), Some(ben));
//! ```
//!
//! A topic is looked up once among the filters without wildcards. Those with wildcards are a tree, that a
//! topic goes through level by level. Neither depends on how many other filters there are.
//!
//! # Layout
//!
//! `filters` are the filters, each with its `members`; `trie` is the tree of those with wildcards, and `shapes` limits what one
//! topic may meet there; `entries` are the subscriptions by filter and subscriber, so that one can be removed from among many.
//! `matches` is what is found, `gathering` finds it where it is much, `choice` how a member of a group is chosen. `slab`, `index`, `text`
//! and `seed` are what they are made of.

mod choice;
mod entries;
mod filters;
mod gathering;
mod index;
mod matches;
mod members;
mod seed;
mod shapes;
mod slab;
mod text;
mod trie;

pub use choice::Strategy;
pub use gathering::Gathering;
pub use matches::{Found, Match, Matches};

use core::num::{NonZeroU32, NonZeroU64};
use entries::Entries;
use filters::{Filters, Group, Links};
use matches::FEW;
use members::{Member, Members};
use mqtt_codec::Qos;
use seed::Seed;
use trie::Trie;

/// A subscriber, by a number that the caller chooses. The memory that a router takes depends on the
/// greatest, so they should be given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberId(pub u32);

/// How a subscriber has subscribed to a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Subscription {
    /// The QoS that was granted.
    pub qos: Qos,
    /// Whether the subscriber's own messages are left out.
    pub no_local: bool,
    /// Whether RETAIN stays as the publisher set it.
    pub retain_as_published: bool,
    /// The Subscription Identifier.
    pub identifier: Option<NonZeroU32>,
}

/// Whether there was a subscription before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribed {
    /// There was none.
    New,
    /// It was replaced [MQTT-3.8.4-3].
    Replaced,
}

/// A group of a shared subscription that a message goes to. It can be kept: no other group is ever
/// taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupId {
    filter: u32,
    serial: u32,
}

impl GroupId {
    /// The group as a number.
    #[must_use]
    pub const fn to_number(self) -> NonZeroU64 {
        // The upper half is not 0.
        let upper = NonZeroU64::MIN.saturating_add(self.filter as u64);
        match NonZeroU64::new((upper.get() << 32) | self.serial as u64) {
            Some(number) => number,
            None => NonZeroU64::MIN,
        }
    }

    /// That group again.
    #[must_use]
    pub const fn from_number(number: NonZeroU64) -> Self {
        Self { filter: ((number.get() >> 32) - 1) as u32, serial: number.get() as u32 }
    }
}

/// The subscriptions of many subscribers. See the [module](self).
///
/// Filters and topics are those that [`mqtt_codec`] has checked. What is changed costs in proportion
/// to the levels of the filter.
#[derive(Debug)]
pub struct Router {
    strategy: Strategy,
    filters: Filters,
    trie: Trie,
    entries: Entries,
    /// The number of groups there have been.
    groups: u32,
    seed: Seed,
}

impl Router {
    /// Without subscriptions. The strategy is that of all groups.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        Self::with(strategy, Seed::random(), shapes::OTHERS)
    }

    /// The same for any filters, where it does not matter how long a message takes.
    pub(crate) fn unlimited(strategy: Strategy) -> Self {
        Self::with(strategy, Seed::random(), usize::MAX)
    }

    fn with(strategy: Strategy, seed: Seed, shapes: usize) -> Self {
        Self {
            strategy,
            filters: Filters::new(seed.clone()),
            trie: Trie::new(seed.clone(), shapes),
            entries: Entries::new(seed.clone()),
            groups: 0,
            seed,
        }
    }

    /// Subscribes to a filter, or replaces that subscription. With `shared` a filter that begins with
    /// `$share/` is a shared subscription's; before MQTT 5.0 it is one like any other.
    ///
    /// `None` for a filter for which there is no room, so that what one message is compared with has a limit: the sets of levels at
    /// which filters have `+`, counted up to each of their levels. There is room for all of no more than ten levels, or with a single
    /// `+` in up to 64 levels, and for 2,048 others together.
    pub fn subscribe(
        &mut self,
        filter: &str,
        shared: bool,
        subscriber: SubscriberId,
        subscription: Subscription,
    ) -> Option<Subscribed> {
        let share = behind_share(filter, shared);
        let id = match (self.find(filter, share.is_some()), share) {
            (Some(id), _) => id,
            (None, Some(behind)) => self.add_group(filter, behind)?,
            (None, None) => self.add_filter(filter)?,
        };
        let position = self.entries.position(id, subscriber);
        let filter = self.filters.get_mut(id)?;
        if let Some(position) = position {
            if let Some(member) = filter.members.get_mut(position) {
                member.subscription = subscription;
            }
            return Some(Subscribed::Replaced);
        }
        let position = filter.members.push(Member { subscriber, subscription });
        self.entries.insert(id, subscriber, position);
        Some(Subscribed::New)
    }

    /// Removes a subscription and tells whether it was there [MQTT-3.10.4-1].
    pub fn unsubscribe(&mut self, filter: &str, shared: bool, subscriber: SubscriberId) -> bool {
        let shared = behind_share(filter, shared).is_some();
        let id = self.find(filter, shared);
        id.is_some_and(|id| self.remove_from(id, subscriber))
    }

    /// Removes all subscriptions of a subscriber, and tells how many there were.
    pub fn remove(&mut self, subscriber: SubscriberId) -> usize {
        let mut removed = 0;
        loop {
            let newest = self.entries.of(subscriber).next();
            match newest {
                Some((id, _)) if self.remove_from(id, subscriber) => removed += 1,
                _ => return removed,
            }
        }
    }

    /// The subscriptions of a subscriber, the newest first. A shared one's filter begins with
    /// `$share/`.
    pub fn subscriptions(
        &self,
        subscriber: SubscriberId,
    ) -> impl Iterator<Item = (&str, Subscription)> {
        self.entries.of(subscriber).filter_map(|(id, position)| {
            let filter = self.filters.get(id)?;
            let member = filter.members.get(position as usize)?;
            Some((filter.text.as_str(), member.subscription))
        })
    }

    /// The number of subscriptions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no subscriptions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory that it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let members = self.len() * size_of::<Member>();
        self.filters.bytes() + self.trie.bytes() + self.entries.bytes() + members
    }

    /// Finds whom a message to the topic goes to. Subscriptions with No Local of the publisher are
    /// left out.
    pub fn matches(&self, topic: &str, publisher: Option<SubscriberId>, matches: &mut Matches) {
        let gathering = self.matches_at_once(topic, publisher, matches, usize::MAX);
        debug_assert!(gathering.is_none(), "there are not more than fit");
    }

    /// The same, unless more than so many subscriptions match: then only the groups are among the matches, and the
    /// subscribers are for [`Gathering`] to find.
    #[must_use]
    pub fn matches_at_once(
        &self,
        topic: &str,
        publisher: Option<SubscriberId>,
        matches: &mut Matches,
        at_most: usize,
    ) -> Option<Box<Gathering>> {
        matches.clear();
        let Matches { filters, front, .. } = matches;
        filters.extend(self.filters.find(topic, false));
        self.trie.walk(topic, front, |filter| filters.push(filter));
        let found = core::mem::take(filters);
        let lists = found.iter().filter_map(|&id| self.filters.get(id)).map(|it| &it.members);
        let count = lists.clone().map(Members::len).sum();
        let gathering = (count > at_most).then(|| {
            let pieces = lists.clone().flat_map(Members::pieces).collect();
            Box::new(Gathering::new(pieces, publisher, found.len() > 1))
        });
        match (&gathering, &found[..]) {
            (Some(_), _) | (None, []) => {}
            (None, &[id]) => lists.for_each(|members| {
                matches.add_all(members, self.left_out(id, members, publisher));
            }),
            (None, _) => matches.merge(lists, count, publisher),
        }
        for filter in found.iter().filter_map(|&id| self.filters.get(id)) {
            matches.push_groups(filter.groups());
        }
        matches.filters = found;
        gathering
    }

    /// The position of the member that does not get what this publisher publishes. A subscriber has
    /// one position among the members, which need not be searched if they are many.
    fn left_out(
        &self,
        filter: u32,
        members: &Members,
        publisher: Option<SubscriberId>,
    ) -> Option<usize> {
        let is_publisher = |member: &Member| Some(member.subscriber) == publisher;
        let position = match members {
            Members::None => None,
            Members::One(member) => is_publisher(member).then_some(0),
            Members::Many(members) if members.len() <= FEW => members.iter().position(is_publisher),
            _ => self.entries.position(filter, publisher?).map(|position| position as usize),
        };
        position.filter(|&at| members.get(at).is_some_and(|member| member.is_left_out(publisher)))
    }

    fn find(&self, filter: &str, shared: bool) -> Option<u32> {
        if !shared && has_wildcard(filter) {
            self.trie.find(filter)
        } else {
            self.filters.find(filter, shared)
        }
    }

    /// Unless there is no room for it.
    fn add_filter(&mut self, filter: &str) -> Option<u32> {
        if !has_wildcard(filter) {
            return Some(self.filters.insert_indexed(filter, None));
        }
        if !self.trie.has_room(filter) {
            return None;
        }
        let id = self.filters.insert(filter);
        self.trie.insert(filter, id);
        Some(id)
    }

    fn add_group(&mut self, filter: &str, behind: &str) -> Option<u32> {
        let found = self.find(behind, false);
        let behind = found.or_else(|| self.add_filter(behind))?;
        let place = self.filters.get(behind).map_or(0, |behind| behind.groups().len());
        self.groups = self.groups.wrapping_add(1);
        let group = Group::new(behind, place as u32, self.groups);
        let id = self.filters.insert_indexed(filter, Some(Box::new(Links::Group(group))));
        let group = GroupId { filter: id, serial: self.groups };
        if let Some(behind) = self.filters.get_mut(behind) {
            match behind.links.as_deref_mut() {
                Some(Links::Groups(groups)) => groups.push(group),
                _ => behind.links = Some(Box::new(Links::Groups(vec![group]))),
            }
        }
        Some(id)
    }

    fn remove_from(&mut self, id: u32, subscriber: SubscriberId) -> bool {
        let Some(position) = self.entries.remove(id, subscriber) else { return false };
        if self.entries.len() == 0 {
            // Gives all memory back. The number of groups goes on.
            self.filters = Filters::new(self.seed.clone());
            self.entries = Entries::new(self.seed.clone());
            self.trie.clear();
            return true;
        }
        if let Some(filter) = self.filters.get_mut(id) {
            if let Some(moved) = filter.members.remove(position) {
                self.entries.set_position(id, moved, position);
            }
            self.remove_if_unused(id);
        }
        true
    }

    fn remove_if_unused(&mut self, id: u32) {
        if !self.filters.get(id).is_some_and(filters::Filter::is_unused) {
            return;
        }
        let Some(filter) = self.filters.remove(id) else { return };
        match filter.links.map(|links| *links) {
            Some(Links::Group(group)) => {
                self.filters.remove_from_index(id, &filter.text);
                self.remove_group(&group);
            }
            _ if has_wildcard(filter.text.as_str()) => self.trie.remove(filter.text.as_str()),
            _ => self.filters.remove_from_index(id, &filter.text),
        }
    }

    /// Removes a group from those of the filter behind it.
    fn remove_group(&mut self, group: &Group) {
        let place = group.place as usize;
        let Some(behind) = self.filters.get_mut(group.filter) else { return };
        let Some(Links::Groups(groups)) = behind.links.as_deref_mut() else { return };
        if place < groups.len() {
            groups.swap_remove(place);
        }
        if let Some(&moved) = groups.get(place)
            && let Some(Links::Group(moved)) =
                self.filters.get_mut(moved.filter).and_then(|filter| filter.links.as_deref_mut())
        {
            moved.place = group.place;
        }
        self.remove_if_unused(group.filter);
    }
}

/// The filter behind `$share/` and the name of the group.
pub(crate) fn behind_share(filter: &str, shared: bool) -> Option<&str> {
    let (_, behind) = filter.strip_prefix("$share/").filter(|_| shared)?.split_once('/')?;
    Some(behind)
}

fn has_wildcard(filter: &str) -> bool {
    filter.bytes().any(|byte| byte == b'+' || byte == b'#')
}
