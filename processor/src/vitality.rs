//! When a service last did its work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Remembers the last good answer of a service.
#[derive(Debug)]
pub(crate) struct Vitality {
    begun: Instant,
    /// Nanoseconds from `begun` to the last good answer; 0 where there was none yet.
    last_good: AtomicU64,
}

impl Vitality {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            last_good: AtomicU64::new(0),
        }
    }

    pub(crate) fn good(&self) {
        let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last_good.fetch_max(now, Ordering::Relaxed);
    }

    /// Whether there was a good answer after `instant`.
    pub(crate) fn since(&self, instant: Instant) -> bool {
        let then =
            u64::try_from(instant.saturating_duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX);
        self.last_good.load(Ordering::Relaxed) > then
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_after_the_instant_counts() {
        let vitality = Vitality::new();
        let before = Instant::now();
        assert!(!vitality.since(before));
        vitality.good();
        assert!(vitality.since(before));
        assert!(!vitality.since(Instant::now()));
    }
}
