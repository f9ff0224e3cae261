//! What is kept, what is found, and how it expires.

use mqtt_core::retained::{Cursor, Full, Retained, RetainedLimits};

const NO_LIMITS: RetainedLimits = RetainedLimits { messages: usize::MAX, bytes: usize::MAX };

fn retained(topics: &[&'static str]) -> Retained<&'static str> {
    let mut retained = Retained::new(NO_LIMITS);
    for &topic in topics {
        assert_eq!(retained.store(topic, topic, 1, None), Ok(None));
    }
    retained
}

/// The topics that match, in pages of so many.
fn find(retained: &Retained<&'static str>, filter: &str, at_most: usize) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), None::<Cursor>);
    loop {
        let before = found.len();
        cursor = retained.matching(filter, cursor.as_ref(), at_most, 0, |topic, message| {
            assert_eq!(topic, *message);
            found.push(topic.to_owned());
        });
        assert!(found.len() - before <= at_most);
        if cursor.is_none() {
            return found;
        }
    }
}

#[test]
fn one_message_a_topic_the_newest_mqtt_3_3_1_5_mqtt_3_3_1_6() {
    let mut retained = retained(&["a", "b"]);
    assert_eq!(retained.store("a", "new", 3, None), Ok(Some("a")));
    assert_eq!((retained.len(), retained.bytes()), (2, 6));
    assert_eq!(retained.get("a", None, 0), Some(&"new"));
    assert_eq!(retained.remove("a"), Some("new"));
    assert_eq!((retained.remove("a"), retained.get("a", None, 0)), (None, None));
    assert_eq!((retained.len(), retained.bytes()), (1, 2));
    assert_eq!(retained.remove("b"), Some("b"));
    assert!(retained.is_empty() && retained.bytes() == 0);
}

#[test]
fn a_filter_finds_what_it_matches_mqtt_3_3_1_9_mqtt_4_7_1_1_mqtt_4_7_1_2() {
    let topics = [
        "/",
        "/a",
        "a",
        "a/",
        "a/b",
        "a/b/c",
        "a/b-c",
        "a/b-c/c",
        "a/b/d",
        "a//c",
        "ab",
        "b",
        "b/b/c",
        "\u{E9}/b/c",
    ];
    let retained = retained(&topics);
    let table: [(&str, &[&str]); 13] = [
        ("a", &["a"]),
        ("c", &[]),
        ("a/b", &["a/b"]),
        ("+", &["a", "ab", "b"]),
        ("/+", &["/", "/a"]),
        ("+/+", &["/", "/a", "a/", "a/b", "a/b-c"]),
        ("a/+", &["a/", "a/b", "a/b-c"]),
        ("a/+/c", &["a//c", "a/b-c/c", "a/b/c"]),
        ("+/b/c", &["a/b/c", "b/b/c", "\u{E9}/b/c"]),
        ("+/b/+", &["a/b/c", "a/b/d", "b/b/c", "\u{E9}/b/c"]),
        ("a/b/#", &["a/b", "a/b/c", "a/b/d"]),
        ("+/b/#", &["a/b", "a/b/c", "a/b/d", "b/b/c", "\u{E9}/b/c"]),
        ("a/+/#", &["a/", "a//c", "a/b", "a/b-c", "a/b-c/c", "a/b/c", "a/b/d"]),
    ];
    for at_most in [1, 2, 3, 100] {
        for (filter, expected) in table {
            assert_eq!(find(&retained, filter, at_most), expected, "{filter}");
        }
        let mut all = topics;
        all.sort_unstable();
        assert_eq!(find(&retained, "#", at_most), all);
    }
}

#[test]
fn a_wildcard_in_the_first_level_does_not_find_dollar_topics_mqtt_4_7_2_1() {
    let retained =
        retained(&["!", "$SYS", "$SYS/a", "$SYS/a/b", "$T/a", "%", "a", "a/a", "a/$SYS"]);
    assert_eq!(find(&retained, "#", 1), ["!", "%", "a", "a/$SYS", "a/a"]);
    assert_eq!(find(&retained, "+", 1), ["!", "%", "a"]);
    assert_eq!(find(&retained, "+/a", 1), ["a/a"]);
    assert_eq!(find(&retained, "$SYS/#", 1), ["$SYS", "$SYS/a", "$SYS/a/b"]);
    assert_eq!(find(&retained, "$SYS/+", 1), ["$SYS/a"]);
}

#[test]
fn what_does_not_fit_is_refused_and_all_stays_as_it_was() {
    let mut retained = Retained::new(RetainedLimits { messages: 2, bytes: 20 });
    assert_eq!(retained.store("a", 1, 9, Some(5)), Ok(None));
    assert_eq!(retained.store("b", 2, 10, None), Err(Full));
    assert_eq!(retained.store("b", 2, 9, None), Ok(None));
    assert_eq!(retained.store("c", 3, 0, None), Err(Full));
    assert_eq!(retained.store("a", 4, 10, None), Err(Full));
    assert_eq!(retained.store("a", 4, usize::MAX, None), Err(Full));
    assert_eq!((retained.get("a", None, 0), retained.get("a", None, 5)), (Some(&1), None));
    assert_eq!(retained.store("a", 5, 8, None), Ok(Some(1)));
    assert_eq!((retained.len(), retained.bytes(), retained.get("a", None, 5)), (2, 19, Some(&5)));
    assert_eq!(retained.expire(5, 10), 0);
}

#[test]
fn an_expired_message_is_not_sent_mqtt_3_3_2_5() {
    let mut retained = Retained::new(NO_LIMITS);
    for (topic, expires_at) in [("a", None), ("b", Some(10)), ("c", Some(20)), ("d", Some(10))] {
        retained.store(topic, (), 1, expires_at).unwrap();
    }
    let found = |retained: &Retained<()>, now| {
        let mut found = String::new();
        assert!(retained.matching("#", None, 10, now, |topic, ()| found.push_str(topic)).is_none());
        found
    };
    assert_eq!([9, 10, 20].map(|now| found(&retained, now)), ["abcd", "ac", "a"]);
    assert_eq!((retained.get("b", None, 9), retained.get("b", None, 10)), (Some(&()), None));
    assert_eq!((retained.len(), retained.bytes()), (4, 8));
    // The expiry of the message that was replaced is no longer that of the topic.
    retained.store("b", (), 1, Some(30)).unwrap();
    assert_eq!([retained.expire(9, 10), retained.expire(20, 1)], [0, 1]);
    assert_eq!((retained.len(), found(&retained, 0).as_str()), (3, "abc"));
    assert_eq!([retained.expire(20, 10), retained.expire(20, 10)], [1, 0]);
    assert_eq!(retained.expire(30, 0), 0);
    assert_eq!(retained.expire(30, 10), 1);
    assert_eq!((retained.len(), retained.bytes()), (1, 2));
}

#[test]
fn what_is_stored_after_a_cursor_was_made_is_left_out() {
    let mut retained = retained(&["a", "b", "c", "d"]);
    let mut cursor = Some(Cursor::at_first(retained.stored()));
    retained.store("b", "b", 1, None).unwrap();
    retained.store("e", "e", 1, None).unwrap();
    assert_eq!(retained.get("b", cursor.as_ref(), 0), None);
    assert_eq!(retained.get("a", cursor.as_ref(), 0), Some(&"a"));
    let mut found = String::new();
    while cursor.is_some() {
        cursor = retained.matching("#", cursor.as_ref(), 1, 0, |topic, _| found.push_str(topic));
        // However late.
        retained.store("d", "d", 1, None).unwrap();
    }
    assert_eq!(found, "ac");
    assert_eq!(find(&retained, "#", 1), ["a", "b", "c", "d", "e"]);
}

#[test]
fn a_call_looks_at_a_bounded_number_of_topics() {
    let mut retained = Retained::new(NO_LIMITS);
    for number in 0..1000 {
        retained.store(&format!("a/{number}/b"), number, 1, None).unwrap();
    }
    let pages = |filter, at_most| {
        let (mut pages, mut found, mut cursor) = (0, 0, None);
        loop {
            cursor = retained.matching(filter, cursor.as_ref(), at_most, 0, |_, _| found += 1);
            pages += 1;
            if cursor.is_none() {
                return (pages, found);
            }
        }
    };
    assert_eq!(pages("a/+/b", 100), (11, 1000));
    assert_eq!(pages("a/+/c", 100), (11, 0));
    assert_eq!(pages("a/+/a", 100), (11, 0));
    // At least one, so that it goes on.
    assert_eq!(pages("a/+/b", 0), (1001, 1000));
}

#[test]
fn what_a_filter_cannot_match_is_skipped() {
    let mut retained = Retained::new(NO_LIMITS);
    for number in 0..10_000 {
        retained.store(&format!("{}/{number}/x", number % 10), (), 1, None).unwrap();
        retained.store(&format!("{}/y", number % 10), (), 1, None).unwrap();
    }
    let mut found = 0;
    // Of each of the ten one of the many, and what matches.
    assert!(retained.matching("+/y", None, 21, 0, |_, ()| found += 1).is_none());
    assert_eq!(found, 10);
    assert!(retained.matching("+/7", None, 31, 0, |_, ()| found += 1).is_none());
    assert!(retained.matching("7/7/+", None, 3, 0, |_, ()| found += 1).is_none());
    assert_eq!(found, 11);
}
