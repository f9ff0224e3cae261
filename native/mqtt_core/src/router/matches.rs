//! Whom a message goes to.

use super::members::{Member, Members};
use super::trie::Front;
use super::{GroupId, SubscriberId};
use core::num::NonZeroU32;
use mqtt_codec::Qos;

/// Up to as many subscriptions are searched one by one for the same subscriber.
pub(super) const FEW: usize = 32;

/// A subscriber that a message goes to, once, however many of its subscriptions match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// The subscriber.
    pub subscriber: SubscriberId,
    /// The highest QoS of its matching subscriptions [MQTT-3.3.4-2].
    pub qos: Qos,
    /// Whether one of them has Retain As Published.
    pub retain_as_published: bool,
    /// The Subscription Identifiers of all of them [MQTT-3.3.4-4].
    pub identifiers: &'a [NonZeroU32],
}

/// The result of [`Router::matches`](super::Router::matches), to be used again, so that it takes no
/// new memory.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    merging: Merging,
    groups: Vec<GroupId>,
    /// The entry of a subscriber, if the generation is this.
    seen: Vec<(u32, u32)>,
    generation: u32,
    pub(super) filters: Vec<u32>,
    pub(super) front: Front,
}

/// Subscribers that are being found.
#[derive(Clone, Debug, Default)]
pub(super) struct Merging {
    found: Found,
    /// Identifiers with the numbers of their runs.
    unsorted: Vec<(u32, NonZeroU32)>,
    /// How many of these are in their places, and of how many runs it is known where they begin.
    sorted: usize,
    begun: usize,
}

/// Subscribers that a message goes to.
#[derive(Clone, Debug, Default)]
pub struct Found {
    entries: Vec<Entry>,
    /// The identifiers of subscribers with several, one subscriber behind the other.
    identifiers: Vec<NonZeroU32>,
    runs: Vec<Run>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    subscriber: SubscriberId,
    identifier: Option<NonZeroU32>,
    /// The number of the run of identifiers plus 1, if there are several.
    run: u32,
    qos: Qos,
    retain_as_published: bool,
}

/// A part of the identifiers.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: usize,
    length: usize,
}

impl Matches {
    /// Without matches.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The subscribers, each once.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Match<'_>> {
        self.merging.found.iter_from(0)
    }

    /// How many subscribers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.merging.len()
    }

    /// Whether there is no subscriber; there may be groups.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The subscribers, to be kept. None is left here.
    #[must_use]
    pub fn take_found(&mut self) -> Found {
        core::mem::take(&mut self.merging.found)
    }

    /// What it took to find them: the nodes of the tree, the subscriptions and the groups that were looked at.
    #[must_use]
    pub fn work(&self) -> usize {
        1 + self.front.visited + self.len() + self.groups.len()
    }

    /// The groups of shared subscriptions, a member of each of which gets the message as well.
    #[must_use]
    pub fn groups(&self) -> &[GroupId] {
        &self.groups
    }

    pub(super) fn clear(&mut self) {
        self.merging.clear();
        self.groups.clear();
        self.filters.clear();
    }

    pub(super) fn push_groups(&mut self, groups: &[GroupId]) {
        self.groups.extend_from_slice(groups);
    }

    /// Takes the members of the only filter that matches, but for that at one position.
    pub(super) fn add_all(&mut self, members: &Members, mut but: Option<usize>) {
        let entries = &mut self.merging.found.entries;
        members.each_slice(|members| {
            let end = but.unwrap_or(members.len()).min(members.len());
            but = but.and_then(|but| but.checked_sub(members.len()));
            let (before, behind) = members.split_at(end);
            entries.extend(before.iter().map(Entry::new));
            entries.extend(behind.iter().skip(1).map(Entry::new));
        });
    }

    /// Takes the members of several filters, `count` together, but for subscriptions with No Local of the publisher
    /// [MQTT-3.8.3-3].
    pub(super) fn merge<'a>(
        &mut self,
        lists: impl Iterator<Item = &'a Members>,
        count: usize,
        publisher: Option<SubscriberId>,
    ) {
        let few = count <= FEW;
        if !few {
            self.next_generation();
        }
        let mut merge = |members: &[Member]| {
            for member in members.iter().filter(|member| !member.is_left_out(publisher)) {
                let known = if few { self.search(member.subscriber) } else { self.look_up(member) };
                self.merging.take(known, member);
            }
        };
        lists.for_each(|members| members.each_slice(&mut merge));
        self.merging.sort_identifiers(usize::MAX);
    }

    fn search(&self, subscriber: SubscriberId) -> Option<usize> {
        self.merging.found.entries.iter().position(|entry| entry.subscriber == subscriber)
    }

    /// The entry of a subscriber, or the next one becomes it.
    fn look_up(&mut self, member: &Member) -> Option<usize> {
        let index = member.subscriber.0 as usize;
        if self.seen.len() <= index {
            self.seen.resize(index + 1, (0, 0));
        }
        let (generation, entry) = self.seen.get_mut(index)?;
        if *generation == self.generation {
            return Some(*entry as usize);
        }
        (*generation, *entry) = (self.generation, self.merging.len() as u32);
        None
    }

    fn next_generation(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        if self.generation == 0 {
            self.seen.fill((0, 0));
            self.generation = 1;
        }
    }
}

impl Merging {
    /// With room for so many.
    pub(super) fn for_members(count: usize) -> Self {
        let found = Found { entries: Vec::with_capacity(count), ..Found::default() };
        Self { found, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.found.entries.len()
    }

    fn clear(&mut self) {
        self.found.clear();
        self.unsorted.clear();
        (self.sorted, self.begun) = (0, 0);
    }

    pub(super) fn into_found(self) -> Found {
        self.found
    }

    /// A subscription, of a subscriber at that place if it has others.
    pub(super) fn take(&mut self, place: Option<usize>, member: &Member) {
        match place {
            Some(place) => self.add(place, member),
            None => self.found.entries.push(Entry::new(member)),
        }
    }

    fn add(&mut self, place: usize, member: &Member) {
        let Found { entries, runs, .. } = &mut self.found;
        let Some(entry) = entries.get_mut(place) else { return };
        let subscription = &member.subscription;
        entry.qos = entry.qos.max(subscription.qos);
        entry.retain_as_published |= subscription.retain_as_published;
        let Some(identifier) = subscription.identifier else { return };
        let Some(first) = entry.identifier else {
            entry.identifier = Some(identifier);
            return;
        };
        if entry.run == 0 {
            self.unsorted.push((runs.len() as u32, first));
            runs.push(Run { start: 0, length: 1 });
            entry.run = runs.len() as u32;
        }
        self.unsorted.push((entry.run - 1, identifier));
        if let Some(run) = runs.get_mut(entry.run as usize - 1) {
            run.length += 1;
        }
    }

    /// Brings the identifiers of each run together, when all subscriptions are there: at most so many, and runs. Says whether these
    /// were all.
    pub(super) fn sort_identifiers(&mut self, at_most: usize) -> bool {
        let Some(&(_, any)) = self.unsorted.first() else { return true };
        let Found { identifiers, runs, .. } = &mut self.found;
        identifiers.reserve_exact(self.unsorted.len() - identifiers.len());
        let begin = runs.iter_mut().skip(self.begun).take(at_most);
        self.begun += begin.len();
        for run in begin {
            run.start = identifiers.len();
            identifiers.resize(run.start + core::mem::take(&mut run.length), any);
        }
        if self.begun < runs.len() {
            return false;
        }
        let unsorted = self.unsorted.get(self.sorted..).unwrap_or_default();
        let unsorted = unsorted.get(..at_most).unwrap_or(unsorted);
        for &(run, identifier) in unsorted {
            if let Some(run) = runs.get_mut(run as usize)
                && let Some(slot) = identifiers.get_mut(run.start + run.length)
            {
                *slot = identifier;
                run.length += 1;
            }
        }
        self.sorted += unsorted.len();
        self.sorted == self.unsorted.len()
    }
}

impl Found {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The subscribers from that at a position on.
    #[must_use]
    pub fn iter_from(&self, position: usize) -> impl ExactSizeIterator<Item = Match<'_>> {
        self.entries.get(position..).unwrap_or_default().iter().map(|entry| Match {
            subscriber: entry.subscriber,
            qos: entry.qos,
            retain_as_published: entry.retain_as_published,
            identifiers: self.identifiers_of(entry),
        })
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.identifiers.clear();
        self.runs.clear();
    }

    fn identifiers_of<'a>(&'a self, entry: &'a Entry) -> &'a [NonZeroU32] {
        if entry.run == 0 {
            return entry.identifier.as_slice();
        }
        let run = self.runs.get(entry.run as usize - 1);
        let run = run.and_then(|run| self.identifiers.get(run.start..run.start + run.length));
        run.unwrap_or_default()
    }
}

impl Entry {
    fn new(member: &Member) -> Self {
        Self {
            subscriber: member.subscriber,
            identifier: member.subscription.identifier,
            run: 0,
            qos: member.subscription.qos,
            retain_as_published: member.subscription.retain_as_published,
        }
    }
}
