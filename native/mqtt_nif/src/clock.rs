//! The time that the state machines get.

use mqtt_core::Millis;
use once_cell::sync::Lazy;
use std::time::{Instant, SystemTime};

static START: Lazy<Instant> = Lazy::new(Instant::now);

/// Milliseconds since the library was loaded.
pub(crate) fn now() -> Millis {
    START.elapsed().as_millis() as Millis
}

/// Milliseconds since 1970.
pub(crate) fn unix() -> Millis {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_millis() as Millis)
}
