//! Topic filters against each other (section 4.7). A topic name is a filter that matches itself
//! alone, so that each of these takes topic names as well. What they are given is valid. They are exact,
//! but that they take the empty name for one, which is of the topics of `/#` and `+`.

/// Whether the filter matches the topic name.
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    covers(filter, topic)
}

/// Whether `wide` matches every topic name that `filter` matches.
#[must_use]
pub fn covers(wide: &str, filter: &str) -> bool {
    if hidden(wide, filter) {
        return false;
    }
    let mut wide_levels = wide.split('/');
    let mut levels = filter.split('/');
    loop {
        match (wide_levels.next(), levels.next()) {
            // Also of the level above [MQTT-4.7.1-2].
            (Some("#"), _) | (None, None) => return true,
            // There are topic names of one level and more, which is all that `+/#` asks for.
            (Some(_), Some("#")) => return filter == "#" && wide == "+/#",
            (Some("+"), Some(_)) => {}
            (Some(wide), Some(level)) if wide == level => {}
            _ => return false,
        }
    }
}

/// Whether there is a topic name that both filters match.
#[must_use]
pub fn overlaps(one: &str, other: &str) -> bool {
    if hidden(one, other) || hidden(other, one) {
        return false;
    }
    let mut levels = one.split('/');
    let mut other_levels = other.split('/');
    loop {
        match (levels.next(), other_levels.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(level), Some(other)) if level == other => {}
            _ => return false,
        }
    }
}

/// Whether `filter` is of topics that begin with `$`, which `wide` does not match with its wildcard
/// [MQTT-4.7.2-1].
fn hidden(wide: &str, filter: &str) -> bool {
    filter.starts_with('$') && wide.starts_with(['+', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_codec::{Version, topic};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    #[test]
    fn a_filter_matches_mqtt_4_7_1_2_mqtt_4_7_1_3() {
        let table = [
            ("a", "a"),
            ("a/b", "a/b"),
            ("#", "a"),
            ("#", "/"),
            ("#", "a/b/c"),
            ("a/#", "a"),
            ("a/#", "a/"),
            ("a/#", "a/b/c"),
            ("a/+/#", "a/b"),
            ("+", "a"),
            ("+/+", "/a"),
            ("/+", "/a"),
            ("a/+", "a/"),
            ("a/+/c", "a/b/c"),
            ("a/+/c", "a//c"),
            ("$SYS/#", "$SYS"),
            ("$SYS/#", "$SYS/a"),
            ("$SYS/+", "$SYS/a"),
            ("a/#", "a/$b"),
            ("a/+", "a/$b"),
            ("a b", "a b"),
        ];
        for (filter, topic) in table {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn a_filter_does_not_match_mqtt_4_7_2_1() {
        let table = [
            ("a", "b"),
            ("a", "A"),
            ("a", "a/"),
            ("a/", "a"),
            ("a", "/a"),
            ("a", "a/b"),
            ("a/b", "a"),
            ("+", "/a"),
            ("+", "a/b"),
            ("a/+", "a"),
            ("a/+", "a/b/c"),
            ("a/+/#", "a"),
            ("a/#", "ab"),
            ("#", "$SYS"),
            ("#", "$SYS/a"),
            ("+/#", "$SYS/a"),
            ("+", "$SYS"),
            ("+/a", "$SYS/a"),
            ("$SYS/#", "a"),
        ];
        for (filter, topic) in table {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn a_filter_covers() {
        let table = [
            ("#", "#"),
            ("#", "+/a/#"),
            ("+/#", "#"),
            ("a/#", "a/+"),
            ("a/#", "a/+/#"),
            ("a/+", "a/+"),
            ("+/b", "a/b"),
            ("$SYS/#", "$SYS/+/a"),
            ("$SYS/+/#", "$SYS/a/#"),
        ];
        for (wide, filter) in table {
            assert!(covers(wide, filter), "{wide} {filter}");
        }
        let table = [
            ("+", "#"),
            ("+/+/#", "#"),
            ("a/+/#", "a/#"),
            ("a", "+"),
            ("a/+", "a/#"),
            ("a/b/#", "a/+/c"),
            ("#", "$SYS/#"),
            ("+/#", "$SYS/#"),
            ("$SYS/#", "#"),
        ];
        for (wide, filter) in table {
            assert!(!covers(wide, filter), "{wide} {filter}");
        }
    }

    #[test]
    fn filters_overlap() {
        let table = [
            ("#", "a"),
            ("a/#", "a"),
            ("a/+", "+/b"),
            ("a/#", "+/b/c"),
            ("+/+", "a/#"),
            ("$SYS/+", "$SYS/#"),
        ];
        for (one, other) in table {
            assert!(overlaps(one, other) && overlaps(other, one), "{one} {other}");
        }
        let table = [
            ("a", "b"),
            ("a/+", "a"),
            ("a/+/#", "a"),
            ("a/+", "b/#"),
            ("a/+/c", "+/b/d"),
            ("#", "$SYS/#"),
            ("+", "$SYS"),
        ];
        for (one, other) in table {
            assert!(!overlaps(one, other) && !overlaps(other, one), "{one} {other}");
        }
    }

    /// As section 4.7 says it.
    fn matches_by_the_book(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) | ([], []) => true,
            ([level, filter @ ..], [name, topic @ ..]) => {
                (*level == "+" || level == name) && matches_by_the_book(filter, topic)
            }
            _ => false,
        }
    }

    fn matches_slowly(filter: &str, topic: &str) -> bool {
        let [filter, topic] = [filter, topic].map(|topic| topic.split('/').collect::<Vec<_>>());
        !(topic[0].starts_with('$') && ["+", "#"].contains(&filter[0]))
            && matches_by_the_book(&filter, &topic)
    }

    /// Every topic name of up to four levels, of which each is one of these, and the empty one. A level
    /// that is in no filter stands for all such.
    static TOPICS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let mut topics = vec![String::new()];
        let mut all = Vec::new();
        for depth in 0..4 {
            topics = topics
                .iter()
                .flat_map(|topic| {
                    ["", "a", "b", "$c", "other"].map(|level| match depth {
                        0 => level.to_owned(),
                        _ => format!("{topic}/{level}"),
                    })
                })
                .collect();
            all.extend(topics.iter().cloned());
        }
        all
    });

    fn filter() -> impl Strategy<Value = String> {
        let level = prop::sample::select(&["+", "+", "", "a", "b", "$c"][..]);
        (prop::collection::vec(level, 0..=3), any::<bool>())
            .prop_map(|(mut levels, open)| {
                levels.extend(open.then_some("#"));
                levels.join("/")
            })
            .prop_filter("empty", |filter| !filter.is_empty())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn brute_force_agrees(one in filter(), other in filter()) {
            topic::check_filter(one.as_bytes(), Version::V3_1_1, 128).unwrap();
            let hits = |filter: &str, topic: &str| matches_slowly(filter, topic);
            for topic in TOPICS.iter() {
                prop_assert_eq!(matches(&one, topic), hits(&one, topic), "{}", topic);
                prop_assert_eq!(overlaps(&one, topic), hits(&one, topic), "{}", topic);
            }
            let covered = TOPICS.iter().all(|topic| hits(&one, topic) || !hits(&other, topic));
            prop_assert_eq!(covers(&one, &other), covered);
            let both = TOPICS.iter().any(|topic| hits(&one, topic) && hits(&other, topic));
            prop_assert_eq!(overlaps(&one, &other), both);
            prop_assert_eq!(overlaps(&other, &one), both);
        }
    }
}
