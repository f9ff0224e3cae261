//! Groups of shared subscriptions, and whom of them a message goes to.

use crate::support::{PLAIN, group, matches, subscribers, with_identifier};
use mqtt_codec::Qos;
use mqtt_core::router::{Router, Strategy, SubscriberId, Subscription};
use std::collections::{BTreeMap, BTreeSet};

const FILTER: &str = "$share/g/a/+";

fn router(strategy: Strategy, members: u32) -> Router {
    let mut router = Router::new(strategy);
    for id in 0..members {
        router.subscribe(FILTER, true, SubscriberId(id), PLAIN);
    }
    router
}

/// Whom so many messages go to.
fn choose(
    router: &Router,
    messages: u64,
    load: impl Fn(u32) -> Option<usize>,
) -> BTreeMap<u32, usize> {
    let group = group(router, "a/b");
    let mut chosen = BTreeMap::new();
    for key in 0..messages {
        let member = router.choose(group, key, |id| load(id.0)).unwrap();
        *chosen.entry(member.subscriber.0).or_default() += 1;
    }
    chosen
}

#[test]
fn a_group_gets_a_message_beside_other_subscribers_mqtt_4_8_2_1() {
    let mut router = router(Strategy::default(), 3);
    router.subscribe("$share/h/a/+", true, SubscriberId(0), PLAIN);
    router.subscribe("$share/g/a/#", true, SubscriberId(0), PLAIN);
    router.subscribe("a/+", false, SubscriberId(0), PLAIN);
    assert_eq!(subscribers(&router, "a/b"), [0]);
    let matches = matches(&router, "a/b");
    let filters = matches.groups().iter().map(|&group| router.group_filter(group).unwrap());
    assert_eq!(
        filters.collect::<BTreeSet<_>>(),
        BTreeSet::from([FILTER, "$share/h/a/+", "$share/g/a/#"])
    );
    assert_eq!(router.len(), 6);
}

#[test]
fn a_shared_filter_is_one_like_any_other_before_mqtt_5() {
    let mut router = Router::new(Strategy::default());
    router.subscribe("$share/g/a", false, SubscriberId(0), PLAIN);
    router.subscribe("$share/g/a", true, SubscriberId(0), PLAIN);
    router.subscribe("$share//#", false, SubscriberId(1), PLAIN);
    assert_eq!(router.len(), 3);
    assert_eq!(subscribers(&router, "$share/g/a"), [0]);
    assert_eq!(subscribers(&router, "$share//a"), [1]);
    assert_eq!(subscribers(&router, "a"), []);
    assert!(router.unsubscribe("$share/g/a", false, SubscriberId(0)));
    group(&router, "a");
    assert!(router.unsubscribe("$share/g/a", true, SubscriberId(0)));
    assert_eq!(matches(&router, "a").groups(), []);
}

#[test]
fn a_member_is_told_with_its_own_options_mqtt_4_8_2_3() {
    let mut router = Router::new(Strategy::default());
    for (id, qos) in [(1, Qos::AtMostOnce), (2, Qos::AtLeastOnce), (3, Qos::ExactlyOnce)] {
        let options = Subscription { qos, retain_as_published: id == 2, ..with_identifier(id) };
        router.subscribe("$share/g/a", true, SubscriberId(id), options);
    }
    for _ in 0..10 {
        let member = router.choose(group(&router, "a"), 0, |_| Some(0)).unwrap();
        let id = member.subscriber.0;
        assert_eq!(u32::from(member.qos as u8), id - 1);
        assert_eq!(member.retain_as_published, id == 2);
        assert_eq!(member.identifiers.iter().map(|it| it.get()).collect::<Vec<_>>(), [id]);
    }
}

#[test]
fn the_least_loaded_gets_it_and_equals_take_turns() {
    let router = router(Strategy::LeastLoaded, 5);
    assert_eq!(choose(&router, 50, |_| Some(3)), (0..5).map(|id| (id, 10)).collect());
    assert_eq!(choose(&router, 50, |id| Some(usize::from(id != 3))), [(3, 50)].into());
    let ties = |id| Some(usize::from(id != 1 && id != 3));
    assert_eq!(choose(&router, 50, ties), [(1, 25), (3, 25)].into());
}

#[test]
fn the_sticky_one_gets_it_while_it_is_online() {
    let router = router(Strategy::Sticky, 5);
    let first = choose(&router, 50, |_| Some(0));
    let [(&first, 50)] = first.iter().collect::<Vec<_>>()[..] else { panic!("{first:?}") };
    let second = choose(&router, 50, |id| (id != first).then_some(0));
    assert_eq!(second.len(), 1);
    // It does not come back when the first one does.
    assert_eq!(choose(&router, 50, |_| Some(0)), second);
}

#[test]
fn the_same_key_has_the_same_member() {
    let router = router(Strategy::Hash, 5);
    let of = |key, load: fn(SubscriberId) -> Option<usize>| {
        router.choose(group(&router, "a/b"), key, load).unwrap().subscriber
    };
    let mut used = BTreeSet::new();
    for key in 0..1000 {
        let member = of(key, |_| Some(0));
        assert_eq!(of(key, |_| Some(7)), member);
        let without_2 = of(key, |id| (id.0 != 2).then_some(0));
        assert_eq!(without_2 == member, member.0 != 2);
        used.insert(member.0);
    }
    assert_eq!(used.len(), 5);
}

#[test]
fn an_offline_member_gets_it_only_if_nobody_is_online() {
    for strategy in [Strategy::LeastLoaded, Strategy::Sticky, Strategy::Hash] {
        let router = router(strategy, 5);
        assert_eq!(choose(&router, 50, |id| (id == 4).then_some(1000)), [(4, 50)].into());
        let offline = choose(&router, 50, |_| None);
        assert_eq!(offline, (0..5).map(|id| (id, 10)).collect(), "{strategy:?}");
    }
}

#[test]
fn a_group_that_has_gone_is_not_taken_for_another() {
    let mut router = router(Strategy::default(), 1);
    let old = group(&router, "a/b");
    router.remove(SubscriberId(0));
    router.subscribe(FILTER, true, SubscriberId(0), PLAIN);
    let new = group(&router, "a/b");
    assert_ne!(new, old);
    assert!(router.choose(old, 0, |_| Some(0)).is_none());
    assert_eq!((router.group_filter(old), router.group_filter(new)), (None, Some(FILTER)));
}

#[test]
fn groups_of_a_filter_come_and_go() {
    let mut router = Router::new(Strategy::default());
    let filter = |id| format!("$share/{id}/a");
    for id in 0..10 {
        router.subscribe(&filter(id), true, SubscriberId(id), PLAIN);
    }
    for gone in [0, 9, 4, 5, 8] {
        assert!(router.unsubscribe(&filter(gone), true, SubscriberId(gone)));
        let matches = matches(&router, "a");
        assert_eq!(matches.groups().len(), router.len());
        for &group in matches.groups() {
            let member = router.choose(group, 0, |_| Some(0)).unwrap().subscriber;
            assert_eq!(router.group_filter(group), Some(&filter(member.0)[..]));
        }
    }
}

#[test]
fn a_large_group_is_not_looked_at_as_a_whole() {
    for strategy in [Strategy::LeastLoaded, Strategy::Sticky, Strategy::Hash] {
        let router = router(strategy, 10_000);
        let group = group(&router, "a/b");
        for online in [10_000, 1_000, 1, 0] {
            let mut looks = 0;
            let mut offline = 0;
            for key in 0..1000 {
                let chosen = router.choose(group, key, |id| {
                    looks += 1;
                    (id.0 < online).then_some(id.0 as usize)
                });
                offline += usize::from(chosen.unwrap().subscriber.0 >= online);
            }
            assert!(looks <= 66 * 1000, "{strategy:?} {online}: {looks}");
            match online {
                0 => assert_eq!(offline, 1000),
                1 => {}
                _ => assert!(offline < 20, "{strategy:?} {online}: {offline}"),
            }
        }
    }
}

#[test]
fn in_a_large_group_the_less_loaded_get_more() {
    let router = router(Strategy::LeastLoaded, 10_000);
    let chosen = choose(&router, 10_000, |id| Some(id as usize));
    let half: usize = chosen.range(..5_000).map(|(_, times)| times).sum();
    // Three quarters, since the greater of two is in the lower half once out of four.
    assert!((7_200..7_800).contains(&half), "{half}");
    assert!(chosen.values().all(|&times| times < 20));
}
