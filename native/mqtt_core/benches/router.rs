//! What it costs to subscribe, to find whom a message goes to, and to find retained messages; and the
//! memory of a million subscriptions, which is printed first.
//!
//! Run with `cargo bench -p mqtt_core --bench router`.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use mqtt_core::retained::{Retained, RetainedLimits};
use mqtt_core::router::{Matches, Router, Strategy, SubscriberId, Subscription};
use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

const MILLION: u32 = 1_000_000;
/// The variable that has the index of the filter.
const MEMORY: &str = "ROUTER_MEMORY_OF";
const PLAIN: Subscription = Subscription {
    qos: mqtt_codec::Qos::AtLeastOnce,
    no_local: false,
    retain_as_published: false,
    identifier: None,
};

/// The filter of a subscriber.
type FilterOf = fn(u32) -> String;

const FILTERS: [(&str, FilterOf); 3] = [
    ("devices/<n>/status", |id| format!("devices/{id}/status")),
    ("devices/<n>/#", |id| format!("devices/{id}/#")),
    ("devices/+", |_| "devices/+".into()),
];

/// The memory is that of a process of its own for each, in which nothing was given back before.
fn main() {
    if let Ok(index) = std::env::var(MEMORY) {
        return print_memory(FILTERS[index.parse::<usize>().unwrap()]);
    }
    for index in 0..FILTERS.len() {
        let mut process = Command::new(std::env::current_exe().unwrap());
        assert!(process.env(MEMORY, index.to_string()).status().unwrap().success());
    }
    divan::main();
}

/// What the process has in memory, in kilobytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// And how long the slowest took, when a table grew.
fn print_memory((name, filter): (&str, FilterOf)) {
    let before = resident();
    let mut router = Router::new(Strategy::LeastLoaded);
    let mut slowest = Duration::ZERO;
    for id in 0..MILLION {
        let filter = filter(id);
        let start = Instant::now();
        router.subscribe(&filter, false, SubscriberId(id), PLAIN);
        slowest = slowest.max(start.elapsed());
    }
    let grown = (resident() - before) * 1024 / 1_000_000;
    let estimate = router.bytes() / 1_000_000;
    println!(
        "a million subscriptions to {name}: {grown} MB, {estimate} MB by its own estimate; \
         the slowest took {slowest:.1?}"
    );
}

/// So many subscribers with one subscription each.
fn router(subscribers: u32, filter: impl Fn(u32) -> String) -> Router {
    let mut router = Router::new(Strategy::LeastLoaded);
    for id in 0..subscribers {
        router.subscribe(&filter(id), false, SubscriberId(id), PLAIN);
    }
    router
}

/// A million others.
fn million() -> Router {
    router(MILLION, |id| format!("devices/{id}/status"))
}

/// Topics in no order that a cache would like.
fn topics() -> Vec<String> {
    (0..MILLION / 10)
        .map(|id| format!("devices/{}/status", u64::from(id) * 7_368_787 % u64::from(MILLION)))
        .collect()
}

mod topic {
    use super::{
        Bencher, HashMap, ItemsCount, MILLION, Matches, PLAIN, SubscriberId, black_box, million,
        router, topics,
    };

    fn bench(bencher: Bencher<'_, '_>, router: &mut mqtt_core::router::Router, topic: &str) {
        let mut matches = Matches::new();
        bencher.bench_local(|| {
            router.matches(black_box(topic), None, &mut matches);
            matches.len()
        });
    }

    /// Subscribers of one filter without wildcards, among a million of others.
    #[divan::bench(args = [1, 10, 1_000, 100_000])]
    fn of_one_filter(bencher: Bencher<'_, '_>, subscribers: u32) {
        let mut router = million();
        for id in 0..subscribers {
            router.subscribe("plant/7/line/3/temperature", false, SubscriberId(id), PLAIN);
        }
        bench(bencher, &mut router, "plant/7/line/3/temperature");
    }

    /// Ten filters, nine of them with wildcards, of a subscriber each.
    #[divan::bench]
    fn of_ten_filters(bencher: Bencher<'_, '_>) {
        let mut router = million();
        let filters = [
            "plant/7/line/3/temperature",
            "plant/7/line/3/#",
            "plant/7/line/+/temperature",
            "plant/7/+/3/temperature",
            "plant/+/line/3/temperature",
            "plant/+/line/+/temperature",
            "plant/+/line/#",
            "plant/7/#",
            "plant/#",
            "#",
        ];
        for (id, filter) in (0..).zip(filters) {
            router.subscribe(filter, false, SubscriberId(id), PLAIN);
        }
        bench(bencher, &mut router, "plant/7/line/3/temperature");
    }

    /// The same subscribers in two filters: each is to come once.
    #[divan::bench(args = [10, 1_000, 100_000])]
    fn of_two_filters_with_the_same_subscribers(bencher: Bencher<'_, '_>, subscribers: u32) {
        let mut router = router(subscribers, |_| "plant/+/status".into());
        for id in 0..subscribers {
            router.subscribe("plant/#", false, SubscriberId(id), PLAIN);
        }
        bench(bencher, &mut router, "plant/7/status");
    }

    /// A thousand topics, each of one of a million filters.
    #[divan::bench]
    fn a_thousand_of_a_million_filters(bencher: Bencher<'_, '_>) {
        let (router, topics) = (million(), topics());
        let (mut matches, mut topics) = (Matches::new(), topics.iter().cycle());
        bencher.counter(ItemsCount::new(1_000_usize)).bench_local(|| {
            for topic in topics.by_ref().take(1_000) {
                router.matches(topic, None, &mut matches);
                black_box(&mut matches);
            }
        });
    }

    /// To compare it with.
    #[divan::bench]
    fn a_thousand_of_a_million_in_a_std_hash_map(bencher: Bencher<'_, '_>) {
        let map: HashMap<String, Vec<u32>> =
            (0..MILLION).map(|id| (format!("devices/{id}/status"), vec![id])).collect();
        let topics = topics();
        let (mut matches, mut topics) = (Vec::new(), topics.iter().cycle());
        bencher.counter(ItemsCount::new(1_000_usize)).bench_local(|| {
            for topic in topics.by_ref().take(1_000) {
                matches.clear();
                matches.extend_from_slice(map.get(topic).unwrap());
                black_box(&mut matches);
            }
        });
    }
}

mod subscription {
    use super::{Bencher, PLAIN, Router, SubscriberId, million};

    fn bench(bencher: Bencher<'_, '_>, mut router: Router, filter: impl Fn(u32) -> String) {
        let mut next = 0;
        bencher
            .with_inputs(|| {
                next += 1;
                (filter(next), SubscriberId(next))
            })
            .bench_local_values(|(filter, subscriber)| {
                router.subscribe(&filter, false, subscriber, PLAIN);
                router.unsubscribe(&filter, false, subscriber)
            });
    }

    /// A filter of its own, made and removed, among a million of others.
    #[divan::bench]
    fn made_and_removed(bencher: Bencher<'_, '_>) {
        bench(bencher, million(), |id| format!("rooms/{id}/status"));
    }

    #[divan::bench]
    fn with_wildcards_made_and_removed(bencher: Bencher<'_, '_>) {
        bench(bencher, million(), |id| format!("rooms/+/{id}/status/#"));
    }

    /// Among 100,000 subscribers of the same filter.
    #[divan::bench]
    fn to_a_filter_of_many_made_and_removed(bencher: Bencher<'_, '_>) {
        let mut router = million();
        for id in 0..100_000 {
            router.subscribe("everything/#", false, SubscriberId(id + 500_000), PLAIN);
        }
        bench(bencher, router, |_| "everything/#".into());
    }

    /// From the first on, with all memory and each table growing: a hundred thousand.
    #[divan::bench(sample_count = 10)]
    fn a_hundred_thousand() -> Router {
        super::router(100_000, |id| format!("devices/{id}/status"))
    }
}

mod group {
    use super::{Bencher, Matches, PLAIN, Router, Strategy, SubscriberId};

    #[divan::bench(args = [2, 64, 100_000])]
    fn of_members(bencher: Bencher<'_, '_>, members: u32) {
        let mut router = Router::new(Strategy::LeastLoaded);
        for id in 0..members {
            router.subscribe("$share/workers/jobs/#", true, SubscriberId(id), PLAIN);
        }
        let mut matches = Matches::new();
        bencher.bench_local(|| {
            router.matches("jobs/1", None, &mut matches);
            let load = |id: SubscriberId| Some(id.0 as usize + 1);
            router.choose(matches.groups()[0], 0, load).map(|member| member.subscriber)
        });
    }
}

mod retained {
    use super::{Bencher, Retained, RetainedLimits, black_box};

    /// Ten of each of 10,000 devices.
    fn hundred_thousand() -> Retained<u32> {
        let mut retained = Retained::new(RetainedLimits::default());
        for number in 0..100_000 {
            let topic = format!("devices/{}/sensor/{}", number / 10, number % 10);
            retained.store(&topic, number, 100, None).unwrap();
        }
        retained
    }

    #[divan::bench(args = [
        ("devices/7/sensor/7", 1),
        ("devices/7/sensor/+", 10),
        ("devices/+/sensor/7", 10_000),
        ("devices/+/sensor/x", 0),
        ("devices/#", 100_000),
    ])]
    fn found(bencher: Bencher<'_, '_>, (filter, expected): (&str, usize)) {
        let retained = hundred_thousand();
        bencher.bench_local(|| {
            let mut found = 0;
            let end = retained.matching(filter, None, usize::MAX, 0, |topic, message| {
                black_box((topic, message));
                found += 1;
            });
            assert!(end.is_none() && found == expected);
        });
    }

    #[divan::bench]
    fn stored_and_removed(bencher: Bencher<'_, '_>) {
        let mut retained = hundred_thousand();
        bencher.bench_local(|| {
            retained.store("devices/5000/status", 1, 100, Some(60_000)).unwrap();
            retained.remove("devices/5000/status")
        });
    }

    #[divan::bench]
    fn replaced(bencher: Bencher<'_, '_>) {
        let mut retained = hundred_thousand();
        bencher.bench_local(|| retained.store("devices/5000/sensor/5", 1, 100, None));
    }
}
