//! What came of a run.

use std::time::Duration;

use crate::server::{Load, WORKERS};

/// How a call ended.
pub(crate) struct Ended {
    pub(crate) well: bool,
    pub(crate) took: Duration,
}

/// The figures of a run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ledger {
    pub(crate) calls: usize,
    pub(crate) failed: usize,
    /// Over all calls, those that failed among them.
    pub(crate) mean: Duration,
    pub(crate) p99: Duration,
    pub(crate) loads: Vec<Load>,
    length: Duration,
}

// === impl Ledger ===

impl Ledger {
    pub(crate) fn new(ended: Vec<Ended>, loads: Vec<Load>, length: Duration) -> Self {
        let calls = ended.len();
        let mut times: Vec<Duration> = ended.iter().map(|ended| ended.took).collect();
        times.sort();
        let rank = (calls * 99).div_ceil(100).max(1) - 1;
        Self {
            calls,
            failed: ended.iter().filter(|ended| !ended.well).count(),
            mean: times.iter().sum::<Duration>() / calls as u32,
            p99: times[rank],
            loads,
            length,
        }
    }

    /// The part of calls that succeeded, in percent.
    pub(crate) fn success(&self) -> f64 {
        100.0 * (self.calls - self.failed) as f64 / self.calls as f64
    }

    /// The part of the time in which a server's workers worked, in percent.
    pub(crate) fn busy(&self, load: &Load) -> f64 {
        100.0 * load.busy.as_secs_f64() / (self.length.as_secs_f64() * WORKERS as f64)
    }
}
