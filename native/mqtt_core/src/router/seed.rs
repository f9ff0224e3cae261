//! The hash of texts that come from clients.

use core::hash::{BuildHasher, Hasher};
use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

/// A hash with a seed that no client knows, so that none can choose texts that collide.
#[derive(Clone, Debug)]
pub(super) struct Seed(SeedableRandomState);

impl Seed {
    pub(super) fn random() -> Self {
        // std asks the operating system.
        let seed = std::hash::RandomState::new().hash_one(0);
        Self(SeedableRandomState::with_seed(seed, SharedSeed::global_random()))
    }

    pub(super) fn text(&self, text: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(text);
        hasher.finish()
    }

    pub(super) fn pair(&self, first: u32, second: u64) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(second);
        hasher.write_u32(first);
        hasher.finish()
    }
}
