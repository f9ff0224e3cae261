//! What is alive, counted. Any thread may touch them; each is exact, but two of them read one after
//! the other need not belong together.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A number of things that exist now.
pub(crate) struct Gauge(AtomicUsize);

impl Gauge {
    const fn new() -> Self {
        Self(AtomicUsize::new(0))
    }

    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, count: usize) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Connection resources that have not been destroyed.
pub(crate) static CONNECTIONS: Gauge = Gauge::new();
/// Sockets that are open.
pub(crate) static DESCRIPTORS: Gauge = Gauge::new();
/// Bytes that wait in the send queues because the kernel did not take them.
pub(crate) static QUEUED_BYTES: Gauge = Gauge::new();
/// Tokio tasks that finish blocked writes or wait for the peer to close.
pub(crate) static FLUSHERS: Gauge = Gauge::new();
/// Messages that were not sent, of connections and their sessions, since the library was loaded.
pub(crate) static DROPPED_MESSAGES: Gauge = Gauge::new();
