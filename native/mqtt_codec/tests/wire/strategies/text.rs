//! Strings, topic names, topic filters and payloads.

use mqtt_codec::Version;
use proptest::collection::vec;
use proptest::prelude::*;

/// Any string there may be: empty, ASCII, of characters of one to four bytes, with a byte order
/// mark, or as long as the length in front can say.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => Just(String::new()),
        450 => characters(0..12),
        30 => characters(100..300),
        1 => Just("ä".repeat(32_767) + "x"),
    ]
}

pub(crate) fn binary() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..12), payload()]
}

pub(crate) fn payload() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![2 => Just(0), 8 => 1..64_usize, 3 => 64..5_000_usize];
    (length, any::<u8>())
        .prop_map(|(length, first)| (0..length).map(|i| first.wrapping_add(i as u8)).collect())
}

/// A topic name: not empty, without wildcards, of up to 128 levels, of which some are empty.
pub(crate) fn topic_name() -> impl Strategy<Value = String> {
    (prop_oneof![9 => levels(level(), 1..6), 1 => levels(level(), 128..129)], any::<bool>())
        .prop_map(|(name, of_server)| if of_server { format!("$SYS{name}") } else { name })
}

/// A topic filter: not empty, with wildcards where they may stand; in MQTT 5.0 some are shared.
pub(crate) fn topic_filter(version: Version) -> BoxedStrategy<String> {
    let plain = prop_oneof![
        Just("#".to_owned()),
        topic_name(),
        levels(level_of_filter(), 1..6),
        levels(level_of_filter(), 1..6).prop_map(|filter| filter + "/#"),
    ]
    .boxed();
    let shared = if version >= Version::V5 {
        let name = characters(1..6).prop_map(|name| name.replace(['/', '+', '#'], "-"));
        let parts = (name, plain.clone());
        parts.prop_map(|(name, filter)| format!("$share/{name}/{filter}")).boxed()
    } else {
        // Filters like any other.
        let names = vec!["$share/g/a", "$share//a", "$share/", "$share"];
        prop::sample::select(names).prop_map(str::to_owned).boxed()
    };
    prop_oneof![4 => plain, 1 => shared].boxed()
}

fn levels(level: BoxedStrategy<String>, count: std::ops::Range<usize>) -> BoxedStrategy<String> {
    let joined = vec(level, count).prop_map(|levels| levels.join("/"));
    joined.prop_map(|joined| if joined.is_empty() { "/".to_owned() } else { joined }).boxed()
}

fn level() -> BoxedStrategy<String> {
    characters(0..5).prop_map(|level| level.replace(['/', '+', '#'], "-")).boxed()
}

fn level_of_filter() -> BoxedStrategy<String> {
    prop_oneof![3 => level(), 2 => Just("+".to_owned())].boxed()
}

/// Characters of every length but U+0000 [MQTT-1.5.4-2].
fn characters(count: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let character = prop_oneof![
        6 => prop::char::range(' ', '~'),
        2 => prop::char::range('\u{80}', '\u{7FF}'),
        1 => prop::char::range('\u{800}', '\u{D7FF}'),
        1 => prop::char::range('\u{10000}', '\u{10FFFF}'),
        1 => prop::sample::select(vec!['\u{1}', '\u{7F}', '\u{FEFF}', '\u{FFFF}', '\u{E000}']),
    ];
    vec(character, count).prop_map(String::from_iter)
}
