//! How many calls may be made again: a part of the callers' own, and a floor.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Tries beyond the first, bounded by the first tries that ended in the last ten seconds.
///
/// By what has *ended*: in an outage fewer calls end, and a budget by what is under way would grow just then.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Tries granted for each first try, 0 to 1.
    part: f64,
    /// Tries granted a second where the part gives less.
    floor: f64,
    window: Mutex<Window>,
}

/// Ten buckets of a second each.
#[derive(Debug)]
struct Window {
    base: Instant,
    buckets: [Bucket; BUCKETS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    second: u64,
    firsts: u64,
    granted: u64,
}

const BUCKETS: usize = 10;

// === impl Budget ===

impl Budget {
    pub(crate) fn new(part: f64, floor: f64) -> Self {
        let window = Window {
            base: Instant::now(),
            buckets: [Bucket::default(); BUCKETS],
        };
        Self {
            part,
            floor,
            window: Mutex::new(window),
        }
    }

    /// A first try has ended, well or not.
    pub(crate) fn first_ended(&self, now: Instant) {
        self.with_bucket(now, |_, bucket| bucket.firsts += 1);
    }

    /// Whether one more try may be made; if so, it is counted.
    pub(crate) fn grant(&self, now: Instant) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let second = window.second(now);
        if self.left_in(&window, second) < 1.0 {
            return false;
        }
        window.bucket(second).granted += 1;
        true
    }

    /// How many further tries would be granted now.
    pub(crate) fn left(&self, now: Instant) -> u64 {
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        self.left_in(&window, window.second(now)).max(0.0) as u64
    }

    fn left_in(&self, window: &Window, second: u64) -> f64 {
        let (firsts, granted) = window.sums(second);
        // A window that has not been open for ten seconds has a floor for as long as it has.
        let seconds = (second + 1).min(BUCKETS as u64) as f64;
        let allowed = (self.part * firsts as f64).max(self.floor * seconds);
        allowed - granted as f64
    }

    fn with_bucket(&self, now: Instant, act: impl FnOnce(u64, &mut Bucket)) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let second = window.second(now);
        act(second, window.bucket(second));
    }
}

// === impl Window ===

impl Window {
    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.base)
            .min(Duration::from_secs(u64::MAX / 2))
            .as_secs()
    }

    /// The bucket of this second, emptied if it was of an older one.
    fn bucket(&mut self, second: u64) -> &mut Bucket {
        let bucket = &mut self.buckets[(second % BUCKETS as u64) as usize];
        if bucket.second != second {
            *bucket = Bucket {
                second,
                ..Bucket::default()
            };
        }
        bucket
    }

    fn sums(&self, second: u64) -> (u64, u64) {
        self.buckets
            .iter()
            .filter(|bucket| second - bucket.second.min(second) < BUCKETS as u64)
            .fold((0, 0), |(firsts, granted), bucket| {
                (firsts + bucket.firsts, granted + bucket.granted)
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn granted(budget: &Budget, asked: usize, now: Instant) -> usize {
        (0..asked).filter(|_| budget.grant(now)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifth_of_the_first_tries_is_granted() {
        let budget = Budget::new(0.2, 1.0);
        let now = Instant::now();
        for _ in 0..1_000 {
            budget.first_ended(now);
        }
        assert_eq!(budget.left(now), 200);
        assert_eq!(granted(&budget, 1_000, now), 200);
        assert_eq!(budget.left(now), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn without_traffic_the_floor_is_granted() {
        let budget = Budget::new(0.2, 2.0);
        assert_eq!(granted(&budget, 100, Instant::now()), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(granted(&budget, 100, Instant::now()), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_ten_seconds_neither_grants_nor_counts() {
        let budget = Budget::new(0.2, 0.1);
        for _ in 0..1_000 {
            budget.first_ended(Instant::now());
        }
        assert_eq!(granted(&budget, 150, Instant::now()), 150);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(granted(&budget, 1_000, Instant::now()), 50);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            granted(&budget, 1_000, Instant::now()),
            0,
            "the floor of one is taken by the fifty that the last second granted"
        );
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(granted(&budget, 1_000, Instant::now()), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn with_every_call_failing_the_servers_see_at_most_a_fifth_more() {
        let budget = Budget::new(0.2, 1.0);
        let (mut firsts, mut seen) = (0, 0);
        for _ in 0..60 {
            for _ in 0..100 {
                firsts += 1;
                seen += 1;
                budget.first_ended(Instant::now());
                // Two more tries for each.
                seen += granted(&budget, 2, Instant::now());
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!(
            f64::from(seen as u32) <= 1.2 * f64::from(firsts),
            "{seen} of {firsts}"
        );
        assert!(
            f64::from(seen as u32) >= 1.19 * f64::from(firsts),
            "{seen} of {firsts}"
        );
    }
}
