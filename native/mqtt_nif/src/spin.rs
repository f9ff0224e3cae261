//! Whether to ask again although there was nothing, instead of sleeping.

use std::time::{Duration, Instant};

/// For so long it goes on, if that has been worth it: about what waking up takes. Otherwise it is tried once in a while.
const SPIN: Duration = Duration::from_micros(30);
const MAX_SKIPS: u32 = 64;

#[derive(Default)]
pub(crate) struct Spin {
    since: Option<Instant>,
    /// So often it is not tried now, and how often behind the last time that it was in vain.
    skip: u32,
    skips: u32,
}

impl Spin {
    /// Says whether to ask again and again from now on.
    pub(crate) fn begins(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        true
    }

    /// There was something.
    pub(crate) fn has_found(&mut self) {
        if self.since.take().is_some() {
            self.skips /= 2;
        }
    }

    /// There was nothing. Says whether to ask again at once.
    pub(crate) fn goes_on(&mut self) -> bool {
        if self.since.get_or_insert_with(Instant::now).elapsed() < SPIN {
            return true;
        }
        self.since = None;
        self.skips = (self.skips * 2).clamp(1, MAX_SKIPS);
        self.skip = self.skips;
        false
    }
}
