//! Which member of a group gets a message (MQTT 5.0, section 4.8.2).

use super::filters::Group;
use super::members::Members;
use super::{GroupId, Match, Router, SubscriberId};
use core::sync::atomic::Ordering::Relaxed;

/// Members that are looked at for one message at most, so that a group of 100,000 costs no more.
const LOOKS: usize = 64;

/// How the members of a group take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The member with the least load. In a group of more than 64 it is the less loaded of two that
    /// are drawn.
    #[default]
    LeastLoaded,
    /// The same as the last time, while it is online.
    Sticky,
    /// The same for the same key, while the members are the same and it is online.
    Hash,
}

impl Router {
    /// Chooses the member of a group that gets a message: one that is online, if there is one. `key`
    /// is what [`Strategy::Hash`] goes by, for example the publisher. `load` tells how busy a member is; `None` stands for
    /// offline.
    ///
    /// `None` if there is no member to choose, or the group no longer exists. In a group of more than
    /// 64 not every member is looked at: if hardly any is online, an offline one may be chosen.
    pub fn choose(
        &self,
        group: GroupId,
        key: u64,
        load: impl FnMut(SubscriberId) -> Option<usize>,
    ) -> Option<Match<'_>> {
        let filter = self.filters.get(group.filter)?;
        let state = filter.group().filter(|state| state.serial == group.serial)?;
        let members = &filter.members;
        let last = SubscriberId(state.last.load(Relaxed));
        let last = self.entries.position(group.filter, last).map(|position| position as usize);
        let mut choice = Choice { members, state, last, load };
        let index = match self.strategy {
            Strategy::LeastLoaded => choice.least_loaded(),
            Strategy::Sticky => choice.sticky(),
            Strategy::Hash => choice.from(self.seed.pair(0, key)),
        };
        let member = members.get(index.or_else(|| choice.offline())?)?;
        Some(Match {
            subscriber: member.subscriber,
            qos: member.subscription.qos,
            retain_as_published: member.subscription.retain_as_published,
            identifiers: member.subscription.identifier.as_slice(),
        })
    }

    /// The filter of a group, from `$share/` on; `None` if the group no longer exists.
    #[must_use]
    pub fn group_filter(&self, group: GroupId) -> Option<&str> {
        let filter = self.filters.get(group.filter)?;
        filter.group().filter(|state| state.serial == group.serial)?;
        Some(filter.text.as_str())
    }
}

struct Choice<'a, L> {
    members: &'a Members,
    state: &'a Group,
    /// The member that was chosen last while online.
    last: Option<usize>,
    load: L,
}

impl<L: FnMut(SubscriberId) -> Option<usize>> Choice<'_, L> {
    fn least_loaded(&mut self) -> Option<usize> {
        if self.members.len() > LOOKS {
            return self.less_loaded_of_two();
        }
        // From behind the last one on, so that those that are equally busy take turns.
        let turn = self.state.turn.load(Relaxed) as usize;
        let mut best: Option<(usize, usize)> = None;
        for index in self.in_turn(turn) {
            if let Some(load) = self.load(index)
                && best.is_none_or(|(least, _)| load < least)
            {
                best = Some((load, index));
                if load == 0 {
                    break;
                }
            }
        }
        let (_, index) = best?;
        self.state.turn.store(index as u32 + 1, Relaxed);
        self.remember(index)
    }

    fn less_loaded_of_two(&mut self) -> Option<usize> {
        let mut first: Option<(usize, usize)> = None;
        for _ in 0..LOOKS {
            let draw = mix(self.state.turn.fetch_add(1, Relaxed));
            let index = scale(draw, self.members.len());
            match (self.load(index), first) {
                (None, _) => {}
                (Some(load), None) => first = Some((load, index)),
                (Some(_), Some((_, other))) if other == index => {}
                (Some(load), Some((least, other))) => {
                    return self.remember(if load < least { index } else { other });
                }
            }
        }
        match first {
            Some((_, index)) => self.remember(index),
            None => self.last_if_online(),
        }
    }

    fn sticky(&mut self) -> Option<usize> {
        self.last_if_online().or_else(|| self.least_loaded())
    }

    /// The first member online from where the hash points to.
    fn from(&mut self, hash: u64) -> Option<usize> {
        let start = scale(hash, self.members.len());
        match self.in_turn(start).take(LOOKS).find(|&index| self.load(index).is_some()) {
            Some(index) => self.remember(index),
            None => self.last_if_online(),
        }
    }

    /// One of the members in turn, since none was found online.
    fn offline(&self) -> Option<usize> {
        let turn = self.state.turn.fetch_add(1, Relaxed) as usize;
        self.in_turn(turn).next()
    }

    fn last_if_online(&mut self) -> Option<usize> {
        let index = self.last?;
        self.load(index).map(|_| index)
    }

    #[expect(clippy::unnecessary_wraps, reason = "all that calls it returns an option")]
    fn remember(&self, index: usize) -> Option<usize> {
        if let Some(member) = self.members.get(index) {
            self.state.last.store(member.subscriber.0, Relaxed);
        }
        Some(index)
    }

    /// All positions, from one on that may be greater than any.
    fn in_turn(&self, start: usize) -> impl Iterator<Item = usize> + use<L> {
        let length = self.members.len();
        let start = start.checked_rem(length).unwrap_or(0);
        (start..length).chain(0..start)
    }

    fn load(&mut self, index: usize) -> Option<usize> {
        (self.load)(self.members.get(index)?.subscriber)
    }
}

/// A number from 0 on and below `length`, in proportion to the hash.
fn scale(hash: u64, length: usize) -> usize {
    ((u128::from(hash) * length as u128) >> 64) as usize
}

/// Draws a number, as `SplitMix64` does. Nobody gains by guessing it.
fn mix(turn: u32) -> u64 {
    let mut bits = u64::from(turn).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}
