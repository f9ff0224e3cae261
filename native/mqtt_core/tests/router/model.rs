//! Subscriptions at random, against a list of them that is compared level by level.

use crate::naive::matches;
use crate::support::{Found, all, found};
use core::num::NonZeroU32;
use mqtt_codec::Qos;
use mqtt_core::router::{
    Gathering, Matches, Router, Strategy as Turns, Subscribed, SubscriberId, Subscription,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SUBSCRIBERS: u32 = 12;

/// The subscriptions by filter, whether shared, and subscriber.
type Model = BTreeMap<(String, bool, SubscriberId), Subscription>;

#[derive(Clone, Debug)]
enum Step {
    Subscribe(String, bool, SubscriberId, Subscription),
    /// All at once.
    SubscribeAll(String, Subscription),
    Unsubscribe(String, bool, SubscriberId),
    /// The subscription at this place among all, in proportion.
    UnsubscribeOne(u16),
    Remove(SubscriberId),
}

fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        6 => Just("a"),
        3 => Just("b"),
        1 => Just(""),
        1 => Just("$a"),
        1 => Just("$share"),
        1 => Just("a-level-that-is-longer-than-most")
    ]
}

fn topic() -> impl Strategy<Value = String> {
    vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a topic is not empty", |topic| !topic.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let levels = vec(prop_oneof![3 => level(), 2 => Just("+")], 0..5);
    (levels, any::<bool>())
        .prop_map(|(mut levels, below)| {
            if below || levels.is_empty() {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("a filter is not empty", |filter| !filter.is_empty())
}

/// A filter, and whether it is a shared subscription's.
fn any_filter() -> impl Strategy<Value = (String, bool)> {
    prop_oneof![
        4 => filter().prop_map(|filter| (filter, false)),
        1 => (0..3, filter(), prop::bool::weighted(0.8))
            .prop_map(|(group, filter, shared)| (format!("$share/{group}/{filter}"), shared)),
    ]
}

fn subscriber() -> impl Strategy<Value = SubscriberId> {
    (0..SUBSCRIBERS).prop_map(SubscriberId)
}

fn subscription() -> impl Strategy<Value = Subscription> {
    (0..3_u8, any::<bool>(), any::<bool>(), 0..4_u32).prop_map(
        |(qos, no_local, retain_as_published, identifier)| Subscription {
            qos: Qos::from_bits(qos).unwrap(),
            no_local,
            retain_as_published,
            identifier: NonZeroU32::new(identifier),
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (any_filter(), subscriber(), subscription())
            .prop_map(|((filter, shared), who, how)| Step::Subscribe(filter, shared, who, how)),
        1 => (filter(), subscription()).prop_map(|(filter, how)| Step::SubscribeAll(filter, how)),
        1 => (any_filter(), subscriber())
            .prop_map(|((filter, shared), who)| Step::Unsubscribe(filter, shared, who)),
        4 => any::<u16>().prop_map(Step::UnsubscribeOne),
        1 => subscriber().prop_map(Step::Remove),
    ]
}

fn take(step: Step, router: &mut Router, model: &mut Model) {
    match step {
        Step::Subscribe(filter, shared, who, how) => {
            let told = router.subscribe(&filter, shared, who, how);
            let old = model.insert((filter, shared, who), how);
            assert_eq!(told == Some(Subscribed::Replaced), old.is_some());
        }
        Step::SubscribeAll(filter, how) => {
            for who in (0..SUBSCRIBERS).map(SubscriberId) {
                take(Step::Subscribe(filter.clone(), false, who, how), router, model);
            }
        }
        Step::Unsubscribe(filter, shared, who) => {
            let told = router.unsubscribe(&filter, shared, who);
            assert_eq!(told, model.remove(&(filter, shared, who)).is_some());
        }
        Step::UnsubscribeOne(place) => {
            let place = usize::from(place) * model.len() / usize::from(u16::MAX);
            if let Some(key) = model.keys().nth(place).cloned() {
                assert!(router.unsubscribe(&key.0, key.1, key.2));
                model.remove(&key);
            }
        }
        Step::Remove(who) => {
            let before = model.len();
            model.retain(|(_, _, other), _| *other != who);
            assert_eq!(router.remove(who), before - model.len());
        }
    }
    assert_eq!(router.len(), model.len());
}

/// What of the model matches the topic.
fn expected(model: &Model, topic: &str, publisher: Option<SubscriberId>) -> Vec<Found> {
    let mut all: BTreeMap<SubscriberId, Found> = BTreeMap::new();
    for ((filter, shared, subscriber), how) in model {
        let own = how.no_local && Some(*subscriber) == publisher;
        if *shared || own || !matches(filter, topic) {
            continue;
        }
        let one = all.entry(*subscriber).or_insert_with(|| Found {
            subscriber: *subscriber,
            qos: Qos::AtMostOnce,
            retain_as_published: false,
            identifiers: Vec::new(),
        });
        one.qos = one.qos.max(how.qos);
        one.retain_as_published |= how.retain_as_published;
        one.identifiers.extend(how.identifier.map(NonZeroU32::get));
        one.identifiers.sort_unstable();
    }
    all.into_values().collect()
}

/// The members of the groups that match the topic.
fn expected_groups<'a>(model: &'a Model, topic: &str) -> BTreeMap<&'a str, Vec<u32>> {
    let mut groups: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for (filter, _, subscriber) in model.keys().filter(|(_, shared, _)| *shared) {
        let behind = filter.splitn(3, '/').last().unwrap();
        if matches(behind, topic) {
            groups.entry(filter).or_default().push(subscriber.0);
        }
    }
    groups
}

fn check(
    router: &Router,
    model: &Model,
    topic: &str,
    publisher: Option<SubscriberId>,
    matches: &mut Matches,
) {
    router.matches(topic, publisher, matches);
    let mut all = found(matches);
    all.sort_unstable();
    assert_eq!(all, expected(model, topic, publisher), "{topic}");
    assert_eq!(all.len(), matches.len());
    let expected = expected_groups(model, topic);
    assert_eq!(matches.groups().len(), expected.len(), "{topic}");
    for &group in matches.groups() {
        let members = &expected[router.group_filter(group).unwrap()];
        // Each member is chosen, if it is the only one online.
        for &online in members {
            let chosen = router.choose(group, 0, |id| (id.0 == online).then_some(0)).unwrap();
            assert_eq!(chosen.subscriber.0, online);
        }
        let chosen = router.choose(group, 0, |_| None).unwrap();
        assert!(members.contains(&chosen.subscriber.0));
    }
}

/// Whom it finds, a few subscriptions at a time.
fn gathered(mut gathering: Gathering) -> Vec<Found> {
    let mut steps = 1;
    while !gathering.gather(3) {
        steps += 1;
    }
    assert!(steps >= gathering.len().div_ceil(3));
    let mut all = all(gathering.into_found().iter_from(0));
    all.sort_unstable();
    all
}

fn check_subscriptions(router: &Router, model: &Model) {
    for who in (0..=SUBSCRIBERS).map(SubscriberId) {
        let told = router.subscriptions(who);
        let of = model.iter().filter(|((_, _, other), _)| *other == who);
        let expected = of.map(|((filter, ..), how)| (&filter[..], *how));
        assert_eq!(in_order(told), in_order(expected));
    }
}

fn in_order<'a>(all: impl Iterator<Item = (&'a str, Subscription)>) -> Vec<String> {
    let mut all: Vec<_> = all.map(|one| format!("{one:?}")).collect();
    all.sort_unstable();
    all
}

fn publisher() -> impl Strategy<Value = Option<SubscriberId>> {
    prop::option::of(subscriber())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A hundred steps, and forty topics after each: a million matches.
    #[test]
    fn it_finds_what_a_comparison_level_by_level_finds(
        steps in vec(step(), 100),
        topics in vec((topic(), publisher()), 40),
        turns in prop_oneof![Just(Turns::LeastLoaded), Just(Turns::Sticky), Just(Turns::Hash)],
    ) {
        let (mut router, mut model) = (Router::new(turns), Model::new());
        let empty = router.bytes();
        let mut matches = Matches::new();
        for step in steps {
            // Those whom a message goes to that is published before.
            let begun: Vec<_> = topics.iter().step_by(10).map(|(topic, publisher)| {
                let gathering = router.matches_at_once(topic, *publisher, &mut matches, 0);
                assert!(gathering.is_some() || matches.is_empty());
                (gathering, expected(&model, topic, *publisher))
            }).collect();
            take(step, &mut router, &mut model);
            for (gathering, expected) in begun {
                assert_eq!(gathering.map_or_else(Vec::new, |begun| gathered(*begun)), expected);
            }
            for (topic, publisher) in &topics {
                check(&router, &model, topic, *publisher, &mut matches);
            }
        }
        check_subscriptions(&router, &model);
        for who in (0..SUBSCRIBERS).map(SubscriberId) {
            take(Step::Remove(who), &mut router, &mut model);
        }
        prop_assert_eq!(router.bytes(), empty);
    }
}
