//! How long to leave alone what is away.

use std::time::Duration;

/// Waits that double from `first` to `longest`, each spread by jitter over its upper half, so that many
/// relays that lost the same queue do not come back to it in step.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// The wait after one more failure.
    pub(crate) fn fail(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.longest).mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Whether the last try failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// What was away is back.
    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        for expected in [100, 200, 400, 800, 1600, 3000, 3000] {
            let wait = backoff.fail().as_millis();
            assert!(
                (expected / 2..=expected).contains(&wait),
                "{wait} ms, expected about {expected}"
            );
        }
        backoff.succeed();
        assert!(backoff.fail() <= Duration::from_millis(100));
    }

    #[test]
    fn a_very_long_outage_does_not_overflow() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(3));
        let longest = (0..100).map(|_| backoff.fail()).max();
        assert!(longest <= Some(Duration::from_secs(3)));
    }
}
