//! Topics looked up among filters.

use crate::BATCH;
use mqtt_core::router::{Matches, Router, Strategy, SubscriberId, Subscription};
use std::hint::black_box;

/// A topic of three levels that one of several filters without wildcards matches.
pub(crate) fn match_exact(messages: usize) {
    let filters = (0..BATCH).map(|id| format!("devices/{id}/status"));
    look_up(messages, filters, "devices/7/status", 1);
}

/// A topic that ten filters with wildcards match, among several others.
pub(crate) fn match_wildcards(messages: usize) {
    let matching = [
        "plant/7/line/3/#",
        "plant/7/line/+/temperature",
        "plant/7/+/3/temperature",
        "plant/+/line/3/temperature",
        "plant/+/line/+/temperature",
        "plant/+/line/#",
        "plant/7/#",
        "plant/#",
        "+/+/+/+/+",
        "#",
    ];
    let others = (0..BATCH).map(|id| format!("devices/{id}/+"));
    let filters = matching.map(String::from).into_iter().chain(others);
    look_up(messages, filters, "plant/7/line/3/temperature", matching.len());
}

/// As many subscriptions as are looked at for a message before it is on its way.
const AT_ONCE: usize = 16 * 1024;

/// Looks a topic up again and again.
fn look_up(
    messages: usize,
    filters: impl Iterator<Item = String>,
    topic: &str,
    subscribers: usize,
) {
    let mut router = Router::new(Strategy::default());
    for (id, filter) in (0..).zip(filters) {
        router.subscribe(&filter, false, SubscriberId(id), Subscription::default());
    }
    let mut matches = Matches::new();
    let publisher = Some(SubscriberId(u32::MAX));
    for _ in 0..messages {
        let more = router.matches_at_once(black_box(topic), publisher, &mut matches, AT_ONCE);
        assert!(more.is_none());
        assert_eq!(matches.len(), subscribers);
        for found in matches.iter() {
            black_box(found);
        }
    }
}
