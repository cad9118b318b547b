//! How long to wait before connecting again.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Exponential backoff with full jitter: the n-th wait is uniform in `0..=min(first * 2^n, longest)`, so
/// that clients that lost the same server do not come back to it all at once.
///
/// ```
/// use std::time::Duration;
/// let mut backoff = async_nsq::Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
/// assert!(backoff.next(&mut rand::rng()) <= Duration::from_millis(100));
/// assert!(backoff.next(&mut rand::rng()) <= Duration::from_millis(200));
/// backoff.reset();
/// assert!(backoff.next(&mut rand::rng()) <= Duration::from_millis(100));
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

// === impl Backoff ===

impl Backoff {
    /// A backoff that starts at `first` and stops growing at `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// The next wait; every call counts as one more failure.
    pub fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(rng.random::<f64>())
    }

    /// After a success: the next wait is a first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    fn ceiling(&self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_never_passes_its_ceiling(first in 1_u64..1000, longest in 1_u64..100_000, failures in 0_u32..100) {
            let (first, longest) = (Duration::from_millis(first), Duration::from_millis(longest));
            let mut backoff = Backoff::new(first, longest);
            for failure in 0..failures {
                let doubled = 2_f64.powi(failure.min(60) as i32) * first.as_secs_f64();
                let ceiling = doubled.min(longest.as_secs_f64());
                prop_assert!(backoff.next(&mut rand::rng()).as_secs_f64() <= ceiling + 1e-6);
            }
        }
    }
}
