//! How long things took.

use crate::client::PATIENCE;
use hdrhistogram::Histogram;
use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// Of a latency, that are kept.
const DIGITS: u8 = 3;

/// So many are needed beyond a quantile that says anything.
const ENOUGH: f64 = 10.0;

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

pub(crate) struct Latency(Histogram<u64>);

/// That many record.
pub(crate) type Shared = Rc<RefCell<Latency>>;

impl Latency {
    pub(crate) fn new() -> io::Result<Self> {
        let longest = PATIENCE.as_nanos() as u64;
        Histogram::new_with_max(longest, DIGITS).map(Self).map_err(io::Error::other)
    }

    pub(crate) fn shared() -> io::Result<Shared> {
        Ok(Rc::new(RefCell::new(Self::new()?)))
    }

    /// What was recorded. Behind it there is nothing.
    pub(crate) fn take(shared: &Shared) -> io::Result<Self> {
        Ok(shared.replace(Self::new()?))
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    /// How many were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The quantiles that are reported, in seconds: those beyond which there are [`ENOUGH`].
    pub(crate) fn quantiles(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let beyond = |quantile| self.count() as f64 * (1.0 - quantile);
        let told = move |&(name, quantile): &(_, f64)| name == "max" || beyond(quantile) >= ENOUGH;
        QUANTILES.into_iter().filter(told).map(|(name, quantile)| {
            (name, Duration::from_nanos(self.0.value_at_quantile(quantile)).as_secs_f64())
        })
    }
}
