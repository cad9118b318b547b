//! Spans that were lost: counted all, told of now and then.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two log lines.
const QUIET: Duration = Duration::from_secs(60);

/// The spans that were lost.
#[derive(Debug, Default)]
pub(super) struct Losses {
    untold: Mutex<Untold>,
}

#[derive(Debug, Default)]
struct Untold {
    spans: u64,
    told: Option<Instant>,
}

// === impl Losses ===

impl Losses {
    /// So many more were lost.
    pub(super) fn add(&self, spans: usize, why: impl fmt::Display) {
        let spans = u64::try_from(spans).unwrap_or(u64::MAX);
        // By name each time: the recorder of metrics may be installed after this was made.
        metrics::counter!("otlp_spans_dropped_total").increment(spans);
        let told = {
            let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
            untold.add(spans, Instant::now())
        };
        if let Some(spans) = told {
            tracing::warn!(spans, %why, "spans were lost");
        }
    }
}

// === impl Untold ===

impl Untold {
    /// How many to tell of, if it is time to.
    fn add(&mut self, spans: u64, now: Instant) -> Option<u64> {
        self.spans = self.spans.saturating_add(spans);
        if self.told.is_some_and(|told| now.duration_since(told) < QUIET) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.spans))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_of_once_a_minute_and_none_is_forgotten() {
        let start = Instant::now();
        let mut untold = Untold::default();
        let mut at = |seconds, spans| untold.add(spans, start + Duration::from_secs(seconds));
        assert_eq!(at(0, 3), Some(3));
        assert_eq!(at(1, 10), None);
        assert_eq!(at(59, 10), None);
        assert_eq!(at(60, 5), Some(25));
        assert_eq!(at(61, 1), None);
        assert_eq!(at(1000, 1), Some(2));
    }
}
