//! A session as bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mqtt_codec::{Properties, Publish, Qos, RetainHandling, SubscriptionOptions};
use mqtt_core::{Granted, Session, SessionLimits};

const LIMITS: SessionLimits =
    SessionLimits { messages: 100, bytes: 100_000, subscriptions: 100, drop_oldest: false };

fn session() -> Session {
    let mut session = Session::with_subscriptions(LIMITS);
    for (qos, topic) in [(Qos::AtLeastOnce, "a"), (Qos::ExactlyOnce, "b/c")] {
        let publish = Publish {
            dup: false,
            qos,
            retain: true,
            topic,
            packet_id: None,
            properties: Properties::EMPTY,
            payload: b"payload",
        };
        session.enqueue(&publish, 0, 0, false).unwrap();
    }
    let options = SubscriptionOptions {
        qos: Qos::ExactlyOnce,
        no_local: true,
        retain_as_published: false,
        retain_handling: RetainHandling::SendIfNew,
    };
    session.subscribe("a/#", Granted { options, identifier: Some(7) });
    // Of MQTT 3.1.1, where it is a filter like others.
    session.subscribe("$share/x", Granted { options, identifier: None });
    session
}

#[test]
fn it_comes_back_as_it_was() {
    let session = session();
    let bytes = session.export(0, 0);
    let copy = Session::import(&bytes, LIMITS, 0, 0).unwrap();
    assert_eq!((copy.waiting(), copy.bytes()), (session.waiting(), session.bytes()));
    assert!(copy.subscriptions().eq(session.subscriptions()));
    assert_eq!(copy.export(0, 0), bytes);
}

#[test]
fn what_is_cut_or_changed_is_refused_or_taken_and_never_panics() {
    let bytes = session().export(0, 0);
    for length in 0..bytes.len() {
        assert!(Session::import(bytes.get(..length).unwrap(), LIMITS, 0, 0).is_none());
    }
    // Each byte with each value, which includes every length that lies.
    for at in 0..bytes.len() {
        for value in 0..=u8::MAX {
            let mut changed = bytes.clone();
            *changed.get_mut(at).unwrap() = value;
            if let Some(session) = Session::import(&changed, LIMITS, u64::MAX, 0) {
                let _ = session.export(0, u64::MAX);
            }
        }
    }
}
