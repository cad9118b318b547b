//! How long a circuit stays open, break after break.
//!
//! The only module that names the `backoff` crate, so that the crate can be exchanged here and nowhere else.

use std::time::Duration;

use ::backoff::ExponentialBackoff;
use ::backoff::backoff::Backoff as _;

use crate::random;

/// Times that double from a first to a longest one, each drawn from around its middle.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    times: ExponentialBackoff,
    longest: Duration,
    jitter: f64,
}

// === impl Backoff ===

impl Backoff {
    /// `jitter` is the part of a time by which it may be shorter or longer, 0 to 1.
    pub(crate) fn new(first: Duration, longest: Duration, jitter: f64) -> Self {
        let times = ExponentialBackoff {
            current_interval: first,
            initial_interval: first,
            // The crate's own jitter cannot be seeded, and reaches past `max_interval`.
            randomization_factor: 0.0,
            multiplier: 2.0,
            max_interval: longest,
            // By default the crate gives up after 15 minutes; a circuit never does.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        Self {
            times,
            longest,
            jitter,
        }
    }

    /// The next time; at most the longest one, jitter included.
    pub(crate) fn next_time(&mut self) -> Duration {
        // Not what `next_backoff` gives: without jitter, too, that is now and then a nanosecond more.
        let middle = self.times.current_interval;
        self.times.next_backoff();
        let jitter = random::within(1.0 - self.jitter..=1.0 + self.jitter);
        middle.mul_f64(jitter).min(self.longest)
    }

    /// Begins again at the first time.
    pub(crate) fn reset(&mut self) {
        self.times.reset();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn times_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 0.0);
        let times: Vec<u64> = (0..8).map(|_| backoff.next_time().as_secs()).collect();
        assert_eq!(times, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_reset_begins_at_the_first_time() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 0.0);
        backoff.next_time();
        backoff.next_time();
        backoff.reset();
        assert_eq!(backoff.next_time(), Duration::from_secs(1));
    }

    #[test]
    fn jitter_stays_within_its_part_and_below_the_longest() {
        for _ in 0..200 {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(4), 0.2);
            for middle in [1.0, 2.0, 4.0, 4.0] {
                let time = backoff.next_time().as_secs_f64();
                assert!(time >= middle * 0.8 - 1e-6, "{time} is far below {middle}");
                assert!(
                    time <= (middle * 1.2 + 1e-6).min(4.0),
                    "{time} is far above {middle}"
                );
            }
        }
    }

    #[test]
    fn jitter_makes_times_differ() {
        let times: std::collections::HashSet<Duration> = (0..20)
            .map(|_| Backoff::new(Duration::from_secs(1), Duration::from_secs(4), 0.2).next_time())
            .collect();
        assert!(times.len() > 10);
    }
}
