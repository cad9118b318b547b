//! What the calls of the last seconds were like, in little memory that never grows.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::Outcome;

/// Calls, failures and latencies of the last 6 to 12 seconds.
///
/// A histogram whose buckets are an eighth of a power of two wide, as HDR histograms have them, over two windows
/// of six seconds: one is filled while the other still stands. A call costs two or three atomic additions.
/// The first call of a window empties it; of calls that end at the same instant as that, a few may be lost.
pub(super) struct Tally {
    base: Instant,
    windows: [Window; 2],
}

/// What the calls of the last seconds were like. Calls that said nothing about the service are not in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Recent {
    pub(crate) calls_per_second: f64,
    /// The part that failed or met overload, 0 to 1; `None` without calls.
    pub(crate) failure_part: Option<f64>,
    /// The median; `None` without calls.
    pub(crate) p50: Option<Duration>,
    /// The time that 99 of 100 calls do not exceed; `None` without calls.
    pub(crate) p99: Option<Duration>,
}

struct Window {
    /// Which window since `base` this is, counted from 1; 0 for none yet.
    number: AtomicU64,
    failures: AtomicU32,
    buckets: [AtomicU32; BUCKETS],
}

const WINDOW_MICROS: u64 = 6_000_000;
/// Buckets in a power of two.
const PARTS: usize = 8;
const PART_BITS: u32 = PARTS.trailing_zeros();
/// From 1 µs to nine minutes.
const BUCKETS: usize = 216;

const _: () = assert!(size_of::<Tally>() < 2_048);

// === impl Tally ===

impl Tally {
    pub(super) fn new(base: Instant) -> Self {
        Self {
            base,
            windows: [Window::new(), Window::new()],
        }
    }

    /// A call has ended now, after so long.
    pub(super) fn record(&self, now: Instant, took: Duration, outcome: Outcome) {
        let failed = match outcome {
            Outcome::Success => false,
            Outcome::Failure | Outcome::Overload => true,
            Outcome::Ignored => return,
        };
        let window = self.window_at(self.number(now));
        window.buckets[bucket_of(took)].fetch_add(1, Ordering::Relaxed);
        if failed {
            window.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn recent(&self, now: Instant) -> Recent {
        let number = self.number(now);
        let live: Vec<&Window> = self
            .windows
            .iter()
            .filter(|window| {
                let filled = window.number.load(Ordering::Relaxed);
                filled != 0 && filled + 1 >= number && filled <= number
            })
            .collect();
        let mut counts = [0_u64; BUCKETS];
        let mut failures = 0;
        for window in live {
            failures += u64::from(window.failures.load(Ordering::Relaxed));
            for (sum, count) in counts.iter_mut().zip(&window.buckets) {
                *sum += u64::from(count.load(Ordering::Relaxed));
            }
        }
        let calls: u64 = counts.iter().sum();
        let micros = self.micros(now);
        let begin = (number - 1).saturating_sub(1) * WINDOW_MICROS;
        // Not less than a second: the first call is no rate of a thousand a second.
        let seconds = Duration::from_micros(micros - begin).as_secs_f64().max(1.0);
        Recent {
            calls_per_second: calls as f64 / seconds,
            failure_part: (calls > 0).then(|| (failures as f64 / calls as f64).min(1.0)),
            p50: quantile(&counts, calls, 0.50),
            p99: quantile(&counts, calls, 0.99),
        }
    }

    /// The window of this number, emptied if it was of an older one.
    fn window_at(&self, number: u64) -> &Window {
        let window = &self.windows[(number % 2) as usize];
        let filled = window.number.load(Ordering::Acquire);
        // Who is late by a window counts for the newer one rather than to empty it.
        let is_ours = filled < number
            && window
                .number
                .compare_exchange(filled, number, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        if is_ours {
            window.clear();
        }
        window
    }

    fn number(&self, now: Instant) -> u64 {
        self.micros(now) / WINDOW_MICROS + 1
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.base).as_micros()).unwrap_or(u64::MAX)
    }
}

// === impl Window ===

impl Window {
    fn new() -> Self {
        Self {
            number: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
        }
    }

    #[cold]
    fn clear(&self) {
        self.failures.store(0, Ordering::Relaxed);
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
    }
}

/// Below eight microseconds a bucket each; above, the power of two and the three bits after its first.
fn bucket_of(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < PARTS as u64 {
        return micros as usize;
    }
    let power = micros.ilog2() - PART_BITS;
    let part = (micros >> power) as usize - PARTS;
    ((power as usize + 1) * PARTS + part).min(BUCKETS - 1)
}

/// The middle of a bucket.
fn middle_of(bucket: usize) -> Duration {
    if bucket < PARTS {
        return Duration::from_micros(bucket as u64);
    }
    let power = bucket / PARTS - 1;
    let least = ((bucket % PARTS + PARTS) as u64) << power;
    Duration::from_micros(least + (1 << power) / 2)
}

fn quantile(counts: &[u64; BUCKETS], calls: u64, part: f64) -> Option<Duration> {
    if calls == 0 {
        return None;
    }
    let rank = (part * calls as f64).ceil().max(1.0) as u64;
    let mut seen = 0;
    let reached = counts.iter().position(|count| {
        seen += count;
        seen >= rank
    });
    reached.map(middle_of)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const EMPTY: Recent = Recent {
        calls_per_second: 0.0,
        failure_part: None,
        p50: None,
        p99: None,
    };

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn every_time_falls_into_a_bucket_whose_middle_is_within_a_tenth_of_it() {
        let mut micros = 1_u64;
        while micros < 500_000_000 {
            let middle = middle_of(bucket_of(Duration::from_micros(micros))).as_micros() as f64;
            let off = (middle - micros as f64).abs() / micros as f64;
            assert!(off <= 0.1, "{micros} µs is told as {middle} µs");
            micros += micros / 50 + 1;
        }
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
        assert_eq!(bucket_of(Duration::ZERO), 0);
    }

    #[test]
    fn rates_and_quantiles_are_those_of_the_calls() {
        let base = Instant::now();
        let tally = Tally::new(base);
        // A hundred a second for ten seconds, one in fifty failing, one in twenty slow.
        for call in 0..1_000_u64 {
            let now = base + Duration::from_millis(10 * call);
            let took = if call % 20 == 0 { 500 } else { 10 };
            let outcome = if call % 50 == 0 {
                Outcome::Failure
            } else {
                Outcome::Success
            };
            tally.record(now, Duration::from_millis(took), outcome);
        }
        let recent = tally.recent(base + seconds(10.0));
        assert!((95.0..105.0).contains(&recent.calls_per_second), "{recent:?}");
        assert!(
            (0.019..0.021).contains(&recent.failure_part.unwrap()),
            "{recent:?}"
        );
        assert!(
            (0.009..0.011).contains(&recent.p50.unwrap().as_secs_f64()),
            "{recent:?}"
        );
        assert!(
            (0.45..0.55).contains(&recent.p99.unwrap().as_secs_f64()),
            "{recent:?}"
        );
    }

    #[test]
    fn what_is_older_than_twelve_seconds_is_forgotten() {
        let base = Instant::now();
        let tally = Tally::new(base);
        tally.record(base + seconds(1.0), seconds(2.0), Outcome::Failure);
        assert_eq!(tally.recent(base + seconds(11.9)).failure_part, Some(1.0));
        assert_eq!(tally.recent(base + seconds(12.1)), EMPTY);
        // The window is used again, empty.
        tally.record(base + seconds(13.0), seconds(0.001), Outcome::Success);
        let recent = tally.recent(base + seconds(13.0));
        assert_eq!(recent.failure_part, Some(0.0));
        assert!(recent.p99.unwrap() < seconds(0.002));
    }

    #[test]
    fn calls_that_say_nothing_are_not_counted_and_overload_is_a_failure() {
        let base = Instant::now();
        let tally = Tally::new(base);
        tally.record(base, seconds(1.0), Outcome::Ignored);
        assert_eq!(tally.recent(base), EMPTY);
        tally.record(base, seconds(1.0), Outcome::Overload);
        assert_eq!(tally.recent(base).failure_part, Some(1.0));
    }

    #[test]
    fn a_rate_over_less_than_a_second_is_not_blown_up() {
        let base = Instant::now();
        let tally = Tally::new(base);
        tally.record(base + seconds(0.001), seconds(0.001), Outcome::Success);
        assert_eq!(tally.recent(base + seconds(0.001)).calls_per_second, 1.0);
    }

    #[test]
    fn of_many_threads_no_call_is_lost_within_a_window() {
        let base = Instant::now();
        let tally = Tally::new(base);
        // The window is begun by one; the others only add.
        tally.record(base, seconds(0.01), Outcome::Success);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        tally.record(base, seconds(0.01), Outcome::Success);
                    }
                });
            }
        });
        assert_eq!(tally.recent(base).calls_per_second, 40_001.0);
    }
}
