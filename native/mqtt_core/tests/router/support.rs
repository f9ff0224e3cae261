//! Short ways to subscribe and to look.

use core::num::NonZeroU32;
use mqtt_codec::Qos;
use mqtt_core::router::{GroupId, Match, Matches, Router, SubscriberId, Subscription};

pub(crate) const PLAIN: Subscription = Subscription {
    qos: Qos::AtMostOnce,
    no_local: false,
    retain_as_published: false,
    identifier: None,
};

pub(crate) fn with_identifier(identifier: u32) -> Subscription {
    Subscription { identifier: NonZeroU32::new(identifier), ..PLAIN }
}

/// A match with what it refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) subscriber: SubscriberId,
    pub(crate) qos: Qos,
    pub(crate) retain_as_published: bool,
    /// In order.
    pub(crate) identifiers: Vec<u32>,
}

pub(crate) fn found(matches: &Matches) -> Vec<Found> {
    all(matches.iter())
}

pub(crate) fn all<'a>(matches: impl Iterator<Item = Match<'a>>) -> Vec<Found> {
    let found = matches.map(|found| {
        let mut identifiers: Vec<_> = found.identifiers.iter().map(|id| id.get()).collect();
        identifiers.sort_unstable();
        Found {
            subscriber: found.subscriber,
            qos: found.qos,
            retain_as_published: found.retain_as_published,
            identifiers,
        }
    });
    found.collect()
}

pub(crate) fn matches(router: &Router, topic: &str) -> Matches {
    let mut matches = Matches::new();
    router.matches(topic, None, &mut matches);
    matches
}

/// The subscribers that a message to the topic goes to.
pub(crate) fn subscribers(router: &Router, topic: &str) -> Vec<u32> {
    matches(router, topic).iter().map(|found| found.subscriber.0).collect()
}

/// The only group that a message to the topic goes to.
pub(crate) fn group(router: &Router, topic: &str) -> GroupId {
    let [group] = matches(router, topic).groups()[..] else { panic!("not one group") };
    group
}
