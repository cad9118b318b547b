//! When to look up next, as a pure value.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::random;

use super::settings::DiscoverySettings;

/// The part by which a time is shorter or longer.
const JITTER: f64 = 0.2;

/// Decides when the next lookup begins.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    least: Duration,
    failures: Backoff,
    failing: bool,
    /// No lookup begins before.
    earliest: Instant,
    next: Instant,
}

// === impl Schedule ===

impl Schedule {
    /// The first lookup is due at once.
    pub(super) fn new(settings: &DiscoverySettings, now: Instant) -> Self {
        Self {
            interval: settings.interval,
            least: settings.least,
            failures: Backoff::new(settings.least, settings.interval.max(settings.least), JITTER),
            failing: false,
            earliest: now,
            next: now,
        }
    }

    /// When the next lookup begins.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// A lookup ended and found endpoints.
    pub(super) fn succeeded(&mut self, now: Instant) {
        self.failing = false;
        self.failures.reset();
        let interval = self.interval.mul_f64(random::within(1.0 - JITTER..=1.0 + JITTER));
        self.ended(now, interval);
    }

    /// A lookup ended and found none.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failing = true;
        let wait = self.failures.next_time();
        self.ended(now, wait);
    }

    /// Somebody has reason to think that the endpoints have changed: looks up as soon as is allowed. While lookups
    /// fail this changes nothing, or else clients that cannot connect would press upon a DNS server that cannot
    /// answer.
    pub(super) fn hasten(&mut self, now: Instant) {
        if !self.failing {
            self.next = self.next.min(self.earliest.max(now));
        }
    }

    fn ended(&mut self, now: Instant, wait: Duration) {
        self.earliest = now + self.least;
        self.next = now + wait.max(self.least);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn settings() -> DiscoverySettings {
        DiscoverySettings::default()
    }

    fn millis(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn the_first_lookup_is_due_at_once() {
        let now = Instant::now();
        assert_eq!(Schedule::new(&settings(), now).next(), now);
    }

    #[test]
    fn after_success_the_interval_passes_give_or_take_a_fifth() {
        let now = Instant::now();
        let mut schedule = Schedule::new(&settings(), now);
        let mut times = std::collections::HashSet::new();
        for _ in 0..200 {
            schedule.succeeded(now);
            let wait = schedule.next() - now;
            assert!(wait >= millis(4000) && wait <= millis(6000), "{wait:?}");
            times.insert(wait);
        }
        assert!(times.len() > 100, "there is jitter");
    }

    #[test]
    fn after_failures_the_time_grows_from_the_least_to_the_interval() {
        let now = Instant::now();
        let mut schedule = Schedule::new(&settings(), now);
        for middle in [500, 1000, 2000, 4000, 5000, 5000] {
            schedule.failed(now);
            let wait = schedule.next() - now;
            let (low, high) = (
                millis(middle * 8 / 10).max(millis(500)),
                millis(middle * 12 / 10).min(millis(5000)),
            );
            assert!(wait >= low && wait <= high, "{wait:?} is not about {middle} ms");
        }
        schedule.succeeded(now);
        schedule.failed(now);
        assert!(schedule.next() - now <= millis(600), "a success begins anew");
    }

    #[test]
    fn haste_is_bounded_by_the_least_time() {
        let start = Instant::now();
        let mut schedule = Schedule::new(&settings(), start);
        schedule.succeeded(start);
        schedule.hasten(start + millis(100));
        assert_eq!(schedule.next(), start + millis(500));
        schedule.succeeded(start);
        schedule.hasten(start + millis(1700));
        assert_eq!(schedule.next(), start + millis(1700));
    }

    #[test]
    fn haste_never_delays_a_lookup() {
        let start = Instant::now();
        let mut schedule = Schedule::new(&settings(), start);
        schedule.succeeded(start);
        let due = schedule.next();
        schedule.hasten(due + millis(10));
        assert_eq!(schedule.next(), due);
    }

    #[test]
    fn haste_does_not_shorten_the_wait_after_a_failure() {
        let start = Instant::now();
        let mut schedule = Schedule::new(&settings(), start);
        for _ in 0..5 {
            schedule.failed(start);
        }
        let due = schedule.next();
        schedule.hasten(start + millis(600));
        assert_eq!(schedule.next(), due);
    }
}
