//! What matches, and what of it a subscriber gets.

use crate::support::{Found, PLAIN, found, matches, subscribers, with_identifier};
use mqtt_codec::Qos;
use mqtt_core::router::{Matches, Router, Strategy, Subscribed, SubscriberId, Subscription};

const A: SubscriberId = SubscriberId(0);
const B: SubscriberId = SubscriberId(1);

fn router(filters: &[&str]) -> Router {
    let mut router = Router::new(Strategy::default());
    for filter in filters {
        assert_eq!(router.subscribe(filter, false, A, PLAIN), Some(Subscribed::New), "{filter}");
    }
    router
}

/// Each filter alone, and with all others.
fn check(table: &[(&str, &[&str], &[&str])]) {
    for (filter, good, bad) in table {
        let alone = router(&[filter]);
        for topic in *good {
            assert_eq!(subscribers(&alone, topic), [0], "{filter} and {topic}");
        }
        for topic in *bad {
            assert_eq!(subscribers(&alone, topic), [], "{filter} and {topic}");
        }
    }
    let mut all = Router::new(Strategy::default());
    for (id, (filter, ..)) in (0..).zip(table) {
        all.subscribe(filter, false, SubscriberId(id), PLAIN);
    }
    for (id, (filter, good, bad)) in (0..).zip(table) {
        for topic in *good {
            assert!(subscribers(&all, topic).contains(&id), "{filter} and {topic}");
        }
        for topic in *bad {
            assert!(!subscribers(&all, topic).contains(&id), "{filter} and {topic}");
        }
    }
}

#[test]
fn a_multi_level_wildcard_is_its_parent_and_all_below_mqtt_4_7_1_1() {
    check(&[
        ("a/b/#", &["a/b", "a/b/", "a/b/c", "a/b/c/d"], &["a", "a/", "a/bc", "/a/b", "b/a/b"]),
        ("#", &["a", "/", "a/b", "/a", " "], &[]),
        ("a/#", &["a", "a/", "a//", "a/b"], &["ab", "/a", "b"]),
        ("/#", &["/", "/a", "/a/b"], &["a", "a/b"]),
    ]);
}

#[test]
fn a_single_level_wildcard_is_one_level_mqtt_4_7_1_2() {
    check(&[
        ("a/+", &["a/b", "a/"], &["a", "a/b/c", "a//", "b/b"]),
        ("+", &["a", " "], &["/", "/a", "a/b", "a/"]),
        ("/+", &["/", "/a"], &["a", "//", "/a/b"]),
        ("+/+", &["/a", "/", "a/b", "a/"], &["a", "a/b/c"]),
        ("a/+/c", &["a/b/c", "a//c"], &["a/c", "a/b/d", "a/b/c/d", "a/b"]),
        ("+/b/#", &["a/b", "/b", "a/b/c/d"], &["b", "a/c", "a/c/b"]),
        ("+/+/#", &["a/b", "/", "a/b/c"], &["a"]),
        ("a/+/#", &["a/b", "a/", "a/b/c"], &["a", "b/b"]),
    ]);
}

#[test]
fn a_wildcard_in_the_first_level_does_not_match_a_dollar_topic_mqtt_4_7_2_1() {
    check(&[
        ("#", &["a/$SYS"], &["$SYS", "$SYS/", "$SYS/a", "$"]),
        ("+", &["a"], &["$SYS"]),
        ("+/a", &["SYS/a"], &["$SYS/a"]),
        ("+/a/#", &["SYS/a"], &["$SYS/a", "$SYS/a/b"]),
        ("$SYS/#", &["$SYS", "$SYS/a", "$SYS/$a"], &["SYS", "$SY/a"]),
        ("$SYS/+", &["$SYS/a", "$SYS/$a"], &["$SYS"]),
        ("a/+", &["a/$SYS"], &[]),
    ]);
    let mut router = Router::new(Strategy::default());
    router.subscribe("$share/g/#", true, A, PLAIN);
    assert_eq!(matches(&router, "$SYS/a").groups(), []);
    assert_eq!(matches(&router, "SYS/a").groups().len(), 1);
}

#[test]
fn topics_are_compared_as_they_are_mqtt_4_7_3_4() {
    check(&[
        ("\u{E9}", &["\u{E9}"], &["e\u{301}"]),
        ("a", &["a"], &["A", "/a", "a/", " a", "a "]),
        ("a b/\u{FEFF}", &["a b/\u{FEFF}"], &["a b/", "a b"]),
        ("+/A", &["a/A"], &["a/a"]),
        // Longer than what lies inline, and alike up to their ends.
        (
            "plant/line/temperature/1/#",
            &["plant/line/temperature/1"],
            &["plant/line/temperature/2"],
        ),
        (
            "+/a-level-that-is-longer-than-most-1",
            &["a/a-level-that-is-longer-than-most-1"],
            &["a/a-level-that-is-longer-than-most-2"],
        ),
    ]);
}

#[test]
fn the_topic_with_the_most_levels_is_matched_mqtt_4_7_3_3() {
    let most = "/".repeat(65_535);
    let router = router(&[&most, &format!("{}#", "+/".repeat(2_000)), "#"]);
    assert_eq!(subscribers(&router, &most), [0]);
    assert_eq!(router.len(), 3);
}

#[test]
fn a_subscriber_comes_once_with_the_best_of_its_subscriptions_mqtt_3_3_4_2_mqtt_3_3_4_4() {
    let mut router = Router::new(Strategy::default());
    let options = |qos, retain_as_published, identifier| Subscription {
        qos,
        retain_as_published,
        ..with_identifier(identifier)
    };
    router.subscribe("a/#", false, A, options(Qos::AtMostOnce, false, 7));
    router.subscribe("a/+", false, A, options(Qos::ExactlyOnce, false, 9));
    router.subscribe("a/b", false, A, options(Qos::AtLeastOnce, true, 7));
    router.subscribe("+/b", false, A, PLAIN);
    router.subscribe("#", false, B, options(Qos::AtLeastOnce, false, 3));
    let of_a = |qos, retain_as_published, identifiers: &[u32]| Found {
        subscriber: A,
        qos,
        retain_as_published,
        identifiers: identifiers.into(),
    };
    let mut all = found(&matches(&router, "a/b"));
    all.sort_unstable();
    let of_b = Found { subscriber: B, qos: Qos::AtLeastOnce, ..of_a(Qos::AtMostOnce, false, &[3]) };
    // The same identifier comes as often as it was given (3.3.2.3.8).
    assert_eq!(all, [of_a(Qos::ExactlyOnce, true, &[7, 7, 9]), of_b.clone()]);
    let mut fewer = found(&matches(&router, "a"));
    fewer.sort_unstable();
    assert_eq!(fewer, [of_a(Qos::AtMostOnce, false, &[7]), of_b]);
}

#[test]
fn no_local_leaves_out_that_subscription_of_the_publisher_mqtt_3_8_3_3() {
    let mut router = Router::new(Strategy::default());
    let no_local = Subscription { no_local: true, ..with_identifier(1) };
    router.subscribe("a", false, A, no_local);
    router.subscribe("a", false, B, no_local);
    let of = |router: &Router, publisher| {
        let mut matches = Matches::new();
        router.matches("a", publisher, &mut matches);
        found(&matches).into_iter().map(|it| (it.subscriber, it.identifiers)).collect::<Vec<_>>()
    };
    assert_eq!(of(&router, Some(A)), [(B, vec![1])]);
    assert_eq!(of(&router, Some(SubscriberId(2))), [(A, vec![1]), (B, vec![1])]);
    assert_eq!(of(&router, None), [(A, vec![1]), (B, vec![1])]);
    router.subscribe("#", false, A, with_identifier(2));
    assert_eq!(of(&router, Some(A)), [(B, vec![1]), (A, vec![2])]);
    assert_eq!(of(&router, Some(B)), [(A, vec![1, 2])]);
}

#[test]
fn no_local_leaves_out_the_publisher_among_many_mqtt_3_8_3_3() {
    let mut router = Router::new(Strategy::default());
    for id in 0..100 {
        let no_local = id % 2 == 0;
        router.subscribe("a", false, SubscriberId(id), Subscription { no_local, ..PLAIN });
    }
    for id in 0..101 {
        let mut matches = Matches::new();
        router.matches("a", Some(SubscriberId(id)), &mut matches);
        let found: Vec<_> = matches.iter().map(|found| found.subscriber.0).collect();
        let expected: Vec<_> = (0..100).filter(|&it| it % 2 == 1 || it != id).collect();
        assert_eq!(found, expected, "{id}");
    }
}

#[test]
fn subscribing_again_replaces_mqtt_3_8_4_3() {
    let mut router = router(&["a", "a/+"]);
    let better = Subscription { qos: Qos::ExactlyOnce, ..with_identifier(9) };
    assert_eq!(router.subscribe("a", false, A, better), Some(Subscribed::Replaced));
    let of_a = matches(&router, "a");
    assert_eq!(found(&of_a).iter().map(|it| it.qos).collect::<Vec<_>>(), [Qos::ExactlyOnce]);
    assert_eq!(found(&of_a)[0].identifiers, [9]);
    assert_eq!(router.len(), 2);
    assert!(router.subscriptions(A).eq([("a/+", PLAIN), ("a", better)]));
}

#[test]
fn unsubscribing_takes_the_same_filter_only_mqtt_3_10_4_1() {
    let mut router = router(&["a/+"]);
    for other in ["a/#", "a/b", "A/+", "a/+/", "+"] {
        assert!(!router.unsubscribe(other, false, A));
    }
    // Nor is one that is none.
    router.subscribe("a/#", false, A, Subscription::default());
    for none in ["a/#/b", "a#", "#/a", "#"] {
        assert!(!router.unsubscribe(none, false, A));
    }
    assert!(router.unsubscribe("a/#", false, A));
    assert!(!router.unsubscribe("a/+", false, B) && !router.unsubscribe("a/+", true, B));
    assert_eq!(subscribers(&router, "a/b"), [0]);
    assert!(router.unsubscribe("a/+", false, A));
    assert!(!router.unsubscribe("a/+", false, A));
    assert_eq!(subscribers(&router, "a/b"), []);
}

#[test]
fn a_subscriber_is_removed_with_all_its_subscriptions() {
    let mut router = router(&["a", "a/+", "#", "b"]);
    router.subscribe("$share/g/a", true, A, PLAIN);
    router.subscribe("a", false, B, PLAIN);
    assert_eq!((router.remove(A), router.len()), (5, 1));
    assert_eq!((router.remove(A), router.remove(SubscriberId(u32::MAX))), (0, 0));
    assert_eq!(subscribers(&router, "a"), [1]);
    assert_eq!(matches(&router, "a").groups(), []);
    assert!(router.subscriptions(A).next().is_none());
}

#[test]
fn memory_is_given_back() {
    let mut router = Router::new(Strategy::default());
    let empty = router.bytes();
    let filter = |id| format!("devices/{id}/a-level-that-is-longer-than-most/+/#");
    for id in 0..10_000 {
        router.subscribe(&filter(id), false, SubscriberId(id), PLAIN);
        router.subscribe("everything/#", false, SubscriberId(id), PLAIN);
    }
    assert!(router.bytes() > empty + 20_000 * 50);
    for id in 0..10_000 {
        assert!(router.unsubscribe(&filter(id), false, SubscriberId(id)));
        assert_eq!(router.remove(SubscriberId(id)), 1);
    }
    assert_eq!(router.bytes(), empty);
}

#[test]
fn filters_that_come_and_go_leave_nothing_behind() {
    let mut router = router(&["stays/+/#"]);
    router.subscribe("$share/stays/a", true, A, PLAIN);
    let before = router.bytes();
    for id in 0..5_000 {
        let filters = [
            format!("come/{id}"),
            format!("come/{id}/+/a-level-that-is-longer-than-most"),
            format!("come/+/{id}/#"),
            format!("$share/{id}/come/+/{id}"),
            format!("$share/{id}/a"),
        ];
        for filter in &filters {
            let shared = filter.starts_with('$');
            assert_eq!(router.subscribe(filter, shared, B, PLAIN), Some(Subscribed::New));
        }
        for filter in &filters {
            assert!(router.unsubscribe(filter, filter.starts_with('$'), B));
        }
    }
    assert_eq!(router.len(), 2);
    // The tables are a little larger, but by far not by something for each filter.
    let grown = router.bytes() - before;
    assert!(grown < 30_000, "{grown}");
}

#[test]
fn threads_can_share_it() {
    fn can_be_shared<T: Send + Sync>(_: &T) {}
    can_be_shared(&Router::new(Strategy::default()));
    can_be_shared(&Matches::new());
}

#[test]
fn many_subscribers_of_several_filters_come_once() {
    let mut router = Router::new(Strategy::default());
    for id in 0..1000 {
        router.subscribe("a/b", false, SubscriberId(id), with_identifier(1));
        if id % 2 == 0 {
            router.subscribe("a/+", false, SubscriberId(id), with_identifier(2));
        }
        if id % 3 == 0 {
            router.subscribe("#", false, SubscriberId(id), with_identifier(3));
        }
    }
    let mut matches = Matches::new();
    for _ in 0..2 {
        router.matches("a/b", None, &mut matches);
        assert_eq!(matches.len(), 1000);
        for (id, found) in (0..).zip(found(&matches)) {
            assert_eq!(found.subscriber, SubscriberId(id));
            let expected: &[u32] = match (id % 2, id % 3) {
                (0, 0) => &[1, 2, 3],
                (0, _) => &[1, 2],
                (_, 0) => &[1, 3],
                _ => &[1],
            };
            assert_eq!(found.identifiers, expected, "{id}");
        }
        router.matches("b", None, &mut matches);
        assert_eq!(matches.len(), 334);
    }
}

/// A filter of so many levels, with `+` where the bits of `shape` are set.
fn shaped(shape: u32, levels: u32) -> String {
    let level = |at| if shape >> at & 1 == 1 { "+" } else { "a" };
    (0..levels).map(level).collect::<Vec<_>>().join("/")
}

#[test]
fn a_topic_meets_no_more_nodes_than_is_allowed_however_many_filters_there_are() {
    let mut router = Router::new(Strategy::default());
    let mut subscribe = |filter: &str, id| router.subscribe(filter, false, SubscriberId(id), PLAIN);
    // Every shape of up to ten levels, and then as many deeper ones as possible, by many subscribers.
    for shape in 1..1 << 10 {
        assert_eq!(subscribe(&shaped(shape, 10), shape), Some(Subscribed::New));
    }
    let deep: Vec<_> =
        (1..1 << 14).filter(|shape| subscribe(&shaped(*shape, 14), *shape).is_some()).collect();
    assert!((512..2048).contains(&deep.len()), "{}", deep.len());
    assert!(!deep.contains(&(0b11 << 12)));
    // There are such filters, or these are not limited.
    assert_eq!(subscribe(&shaped(deep[0], 14), 0), Some(Subscribed::New));
    assert_eq!(subscribe("b/+/c/+/d/+/e/+/f/+/#", 0), Some(Subscribed::New));
    assert_eq!(subscribe("b/c/d/e/f/g/h/i/j/k/l/m", 0), Some(Subscribed::New));
    for plus in 0..64 {
        let level = |at| if at == plus { "+" } else { "a" };
        let filter = (0..64).map(level).collect::<Vec<_>>().join("/");
        assert_eq!(subscribe(&filter, 0), Some(Subscribed::New));
    }
    let (many, refused) = ("a/".repeat(64) + "+", shaped(0b11 << 12, 14));
    assert_eq!(subscribe(&many, 0), None);
    assert_eq!(subscribe(&refused.replace('a', "b"), 0), None);
    assert_eq!(router.subscribe(&format!("$share/g/{refused}"), true, A, PLAIN), None);
    for levels in [14, 64, 100] {
        let work = matches(&router, &vec!["a"; levels].join("/")).work();
        assert!(work <= 2_046 + 2_025 + 2_048 + 2 * levels + deep.len(), "{work}");
    }
    let found = matches(&router, &shaped(0, 14));
    assert_eq!(found.len(), deep.len() + 1);
    // Who leaves makes room.
    for shape in deep {
        router.remove(SubscriberId(shape));
    }
    assert_eq!(router.subscribe(&refused, false, A, PLAIN), Some(Subscribed::New));
}
