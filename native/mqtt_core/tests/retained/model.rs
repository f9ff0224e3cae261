//! Messages at random, against a plain map that is compared with the filter level by level.

use crate::naive::matches;
use mqtt_core::Millis;
use mqtt_core::retained::{Cursor, Full, Retained, RetainedLimits};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const LIMITS: RetainedLimits = RetainedLimits { messages: 60, bytes: 2000 };

/// Message, size and expiry by topic.
type Model = BTreeMap<String, (u32, usize, Option<Millis>)>;

#[derive(Clone, Debug)]
enum Step {
    Store(String, u32, usize, Option<Millis>),
    Remove(String),
    /// Removes the message at this place among all, in proportion.
    RemoveOne(u16),
    Expire(usize),
}

/// Characters before and behind the separator, and around `$`.
fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => Just("a"),
        2 => Just("b"),
        1 => Just("a-b"),
        1 => Just("a0"),
        1 => Just("-"),
        1 => Just(""),
        1 => Just("$a"),
        1 => Just("%"),
        1 => Just("\u{E9}")
    ]
}

fn topic() -> impl Strategy<Value = String> {
    vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a topic is not empty", |topic| !topic.is_empty())
}

fn filter() -> impl Strategy<Value = String> {
    let levels = vec(prop_oneof![3 => level(), 2 => Just("+")], 0..5);
    (levels, prop::bool::weighted(0.3))
        .prop_map(|(mut levels, below)| {
            if below || levels.is_empty() {
                levels.push("#");
            }
            levels.join("/")
        })
        .prop_filter("a filter is not empty", |filter| !filter.is_empty())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (topic(), any::<u32>(), 0..60_usize, prop::option::weighted(0.3, 0..100_u64))
            .prop_map(|(topic, message, size, at)| Step::Store(topic, message, size, at)),
        1 => topic().prop_map(Step::Remove),
        3 => any::<u16>().prop_map(Step::RemoveOne),
        1 => (0..5_usize).prop_map(Step::Expire),
    ]
}

fn take(step: Step, now: Millis, retained: &mut Retained<u32>, model: &mut Model) {
    match step {
        Step::Store(topic, message, size, expires_at) => {
            let told = retained.store(&topic, message, size, expires_at);
            let mut with = model.clone();
            let old = with.insert(topic, (message, size, expires_at));
            if with.len() > LIMITS.messages || bytes(&with) > LIMITS.bytes {
                assert_eq!(told, Err(Full));
            } else {
                assert_eq!(told, Ok(old.map(|(message, ..)| message)));
                *model = with;
            }
        }
        Step::Remove(topic) => {
            let old = model.remove(&topic).map(|(message, ..)| message);
            assert_eq!(retained.remove(&topic), old);
        }
        Step::RemoveOne(place) => {
            let place = usize::from(place) * model.len() / usize::from(u16::MAX);
            if let Some(topic) = model.keys().nth(place).cloned() {
                let (message, ..) = model.remove(&topic).unwrap();
                assert_eq!(retained.remove(&topic), Some(message));
            }
        }
        Step::Expire(at_most) => {
            let mut due: Vec<_> = model
                .iter()
                .filter_map(|(topic, (.., at))| Some(((*at)?, topic.clone())))
                .filter(|(at, _)| *at <= now)
                .collect();
            due.sort_unstable();
            due.truncate(at_most);
            assert_eq!(retained.expire(now, at_most), due.len());
            for (_, topic) in due {
                model.remove(&topic);
            }
        }
    }
    assert_eq!((retained.len(), retained.bytes()), (model.len(), bytes(model)));
}

fn bytes(model: &Model) -> usize {
    model.iter().map(|(topic, (_, size, _))| topic.len() + size).sum()
}

/// The topics that match, and the messages that the filter is to find.
fn expected(model: &Model, filter: &str, now: Millis) -> Vec<(String, u32)> {
    let alive = model.iter().filter(|(_, (.., at))| at.is_none_or(|at| at > now));
    let matching = alive.filter(|(topic, _)| matches(filter, topic));
    matching.map(|(topic, (message, ..))| (topic.clone(), *message)).collect()
}

fn check(retained: &Retained<u32>, model: &Model, filter: &str, page: usize, now: Millis) {
    let (mut found, mut cursor) = (Vec::new(), None::<Cursor>);
    for _ in 0..=model.len() / page {
        cursor = retained.matching(filter, cursor.as_ref(), page, now, |topic, message| {
            found.push((topic.to_owned(), *message));
        });
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(cursor, None, "each call makes progress");
    assert_eq!(found, expected(model, filter, now), "{filter}");
}

/// The topics whose messages have not expired at 0.
fn alive(model: &Model) -> BTreeSet<String> {
    let alive = model.iter().filter(|(_, (.., at))| *at != Some(0));
    alive.map(|(topic, _)| topic.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A hundred steps, and forty filters after each: a million searches.
    #[test]
    fn it_finds_what_a_comparison_level_by_level_finds(
        steps in vec(step(), 100),
        filters in vec((filter(), 1..10_usize), 40),
        topics in vec(topic(), 10),
    ) {
        let (mut retained, mut model) = (Retained::new(LIMITS), Model::new());
        for (now, step) in (0..).zip(steps) {
            take(step, now, &mut retained, &mut model);
            for (filter, page) in &filters {
                check(&retained, &model, filter, *page, now);
            }
            for topic in &topics {
                let one = model.get(topic).filter(|(.., at)| at.is_none_or(|at| at > now));
                assert_eq!(retained.get(topic, None, now), one.map(|(message, ..)| message));
            }
        }
    }

    /// What is there all the time is visited once, and nothing twice.
    #[test]
    fn a_cursor_survives_changes(
        before in vec(step(), 60),
        between in vec(step(), 60),
        filters in vec((filter(), 1..5_usize), 20),
    ) {
        let (mut retained, mut model) = (Retained::new(LIMITS), Model::new());
        for step in before {
            take(step, 0, &mut retained, &mut model);
        }
        let mut steps = between.into_iter().cycle();
        for (filter, page) in filters {
            let mut always = alive(&model);
            let (mut visited, mut cursor) = (Vec::new(), None::<Cursor>);
            loop {
                cursor = retained.matching(&filter, cursor.as_ref(), page, 0, |topic, message| {
                    assert_eq!(model[topic].0, *message);
                    visited.push(topic.to_owned());
                });
                if cursor.is_none() {
                    break;
                }
                for step in steps.by_ref().take(3) {
                    take(step, 0, &mut retained, &mut model);
                    always = &always & &alive(&model);
                }
            }
            prop_assert!(visited.is_sorted_by(|one, other| one < other));
            for topic in always.iter().filter(|topic| matches(&filter, topic)) {
                prop_assert!(visited.contains(topic), "{topic} of {filter}");
            }
        }
    }
}
