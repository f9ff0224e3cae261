//! Who has subscribed, and is to be found behind the numbers that a router has for them.

use super::LOOKED_UP;
use crate::delivery::{Routed, To};
use crate::local::Local;
use crate::session::SharedSession;
use mqtt_codec::Publish;
use mqtt_core::Message;
use mqtt_core::router::{Found, GroupId, Match, Matches, Router, Strategy, SubscriberId};
use std::num::NonZeroU64;
use std::sync::Arc;

pub(crate) struct Tables {
    pub(crate) router: Router,
    /// By their numbers.
    subscribers: Vec<Place>,
    free: Vec<u32>,
    /// How often one has come.
    joined: u64,
    /// How many are processes.
    locals: usize,
}

/// Where a subscriber is, and as which of all that have ever come.
struct Place {
    receiver: Option<Receiver>,
    joined: u64,
}

/// What has subscribed.
#[derive(Clone)]
pub(crate) enum Receiver {
    Session(SharedSession),
    /// A process of this node.
    Local(Arc<Local>),
}

impl Tables {
    pub(super) fn new(strategy: Strategy) -> Self {
        let router = Router::new(strategy);
        Self { router, subscribers: Vec::new(), free: Vec::new(), joined: 0, locals: 0 }
    }

    /// The number of sessions.
    pub(super) fn sessions(&self) -> usize {
        self.subscribers.len() - self.free.len() - self.locals
    }

    pub(super) const fn joined(&self) -> u64 {
        self.joined
    }

    pub(super) fn add(&mut self, receiver: Receiver) -> SubscriberId {
        self.locals += usize::from(matches!(receiver, Receiver::Local(_)));
        self.joined += 1;
        let new = Place { receiver: Some(receiver), joined: self.joined };
        if let Some(number) = self.free.pop()
            && let Some(place) = self.subscribers.get_mut(number as usize)
        {
            *place = new;
            return SubscriberId(number);
        }
        self.subscribers.push(new);
        SubscriberId(self.subscribers.len() as u32 - 1)
    }

    /// A subscriber is as good as one that has just come: it gets nothing that was found before.
    pub(super) fn begin_anew(&mut self, id: SubscriberId) {
        self.router.remove(id);
        self.joined += 1;
        if let Some(place) = self.subscribers.get_mut(id.0 as usize) {
            place.joined = self.joined;
        }
    }

    /// Says how many subscriptions it had.
    pub(super) fn remove(&mut self, id: SubscriberId) -> usize {
        if let Some(place) = self.subscribers.get_mut(id.0 as usize)
            && let Some(receiver) = place.receiver.take()
        {
            self.locals -= usize::from(matches!(receiver, Receiver::Local(_)));
            self.free.push(id.0);
        }
        self.router.remove(id)
    }

    /// The first [`LOOKED_UP`], those of groups behind the others.
    pub(super) fn deliveries(&self, matches: &Matches, publish: &Publish<'_>, key: u64) -> Vec<To> {
        let some = matches.iter().take(LOOKED_UP);
        let groups = matches.groups();
        let groups = groups.get(..LOOKED_UP - some.len()).unwrap_or(groups);
        let mut deliveries = Vec::with_capacity(some.len() + groups.len());
        deliveries.extend(some.filter_map(|found| self.to(found, publish, None)));
        self.look_up_groups(groups, key, publish, &mut deliveries);
        deliveries
    }

    /// Looks up [`LOOKED_UP`] more of those whom a message goes to, and says how many. Who has come since they were found has
    /// the number of one that has left, and is left out.
    pub(crate) fn look_up(
        &self,
        found: &Found,
        from: usize,
        joined: u64,
        publish: &Publish<'_>,
        deliveries: &mut Vec<To>,
    ) -> usize {
        let some = found.iter_from(from).take(LOOKED_UP);
        let count = some.len();
        deliveries.extend(some.filter_map(|found| {
            let place = self.place(found.subscriber).filter(|place| place.joined <= joined)?;
            Some(To::new(place.receiver.as_ref()?, found, publish, None))
        }));
        count
    }

    /// Chooses a member of each group. One that is gone by now has none.
    pub(crate) fn look_up_groups(
        &self,
        groups: &[GroupId],
        key: u64,
        publish: &Publish<'_>,
        deliveries: &mut Vec<To>,
    ) {
        deliveries.extend(groups.iter().filter_map(|&group| self.to_group(group, key, publish)));
    }

    /// A message that came through a group, for another member.
    pub(crate) fn pass_on(&self, message: Message) -> Option<Routed> {
        let to = self.choose(message.group()?, &message.publish())?;
        Some(Routed::to(message, vec![to], false))
    }

    /// A member of a group of that number.
    pub(crate) fn choose(&self, group: NonZeroU64, publish: &Publish<'_>) -> Option<To> {
        self.to_group(GroupId::from_number(group), 0, publish)
    }

    /// The member of a group that a message goes to.
    fn to_group(&self, group: GroupId, key: u64, publish: &Publish<'_>) -> Option<To> {
        let load = |id: SubscriberId| match self.subscriber(id)? {
            Receiver::Session(session) => session.load(),
            Receiver::Local(local) => Some(local.load()),
        };
        let chosen = self.router.choose(group, key, load)?;
        self.to(chosen, publish, Some(group))
    }

    fn place(&self, id: SubscriberId) -> Option<&Place> {
        self.subscribers.get(id.0 as usize)
    }

    fn subscriber(&self, id: SubscriberId) -> Option<&Receiver> {
        self.place(id)?.receiver.as_ref()
    }

    fn to(&self, found: Match<'_>, publish: &Publish<'_>, group: Option<GroupId>) -> Option<To> {
        Some(To::new(self.subscriber(found.subscriber)?, found, publish, group))
    }
}
