//! What a method usually takes, judged by the calls that went well of late.

use std::time::Duration;

use tokio::time::Instant;

/// Times that are kept.
const KEPT: usize = 64;

/// As many fresh times there must be before anything is refused by them.
const ENOUGH: usize = 20;

/// Older times say nothing any more.
const FRESH: Duration = Duration::from_secs(60);

/// Times are looked through again when so many have come in.
const EVERY: u32 = 8;

/// Of so many calls that would be refused, one is let through: if the method has become faster, only a call can
/// show it.
const LET_THROUGH: u32 = 10;

/// The recent times of one method. A pure value: the time is handed in.
#[derive(Debug, Default)]
pub(super) struct ServiceTimes {
    times: Vec<(Instant, Duration)>,
    oldest: usize,
    since_summary: u32,
    summary: Option<Summary>,
    refusable: u32,
}

#[derive(Clone, Copy, Debug)]
struct Summary {
    made: Instant,
    /// Nine of ten calls took longer.
    quick: Duration,
    median: Duration,
}

/// The work cannot be done in the time that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLate {
    /// The median of the times.
    pub(super) usual: Duration,
}

// === impl ServiceTimes ===

impl ServiceTimes {
    /// A call went well and took so long.
    pub(super) fn record(&mut self, now: Instant, took: Duration) {
        if self.times.len() < KEPT {
            self.times.push((now, took));
        } else {
            self.times[self.oldest] = (now, took);
            self.oldest = (self.oldest + 1) % KEPT;
        }
        self.since_summary += 1;
        if self.since_summary >= EVERY {
            self.since_summary = 0;
            self.summary = self.summarize(now);
        }
    }

    /// Whether a call with so much time left is worth beginning.
    ///
    /// It is refused only if nine of ten recent calls took longer than that, so that a method with quick and slow
    /// answers is judged by its quick ones; and of ten such calls one is let through all the same.
    pub(super) fn judge(&mut self, now: Instant, left: Duration) -> Result<(), TooLate> {
        let Some(summary) = self.summary else {
            return Ok(());
        };
        if left >= summary.quick || now.saturating_duration_since(summary.made) > FRESH {
            return Ok(());
        }
        self.refusable += 1;
        if self.refusable.is_multiple_of(LET_THROUGH) {
            return Ok(());
        }
        Err(TooLate {
            usual: summary.median,
        })
    }

    fn summarize(&self, now: Instant) -> Option<Summary> {
        let mut fresh: Vec<Duration> = self
            .times
            .iter()
            .filter(|(at, _)| now.saturating_duration_since(*at) <= FRESH)
            .map(|(_, took)| *took)
            .collect();
        if fresh.len() < ENOUGH {
            return None;
        }
        fresh.sort_unstable();
        Some(Summary {
            made: now,
            quick: fresh[fresh.len() / 10],
            median: fresh[fresh.len() / 2],
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn after(calls: u32, took: Duration) -> (ServiceTimes, Instant) {
        let mut times = ServiceTimes::default();
        let now = Instant::now();
        for _ in 0..calls {
            times.record(now, took);
        }
        (times, now)
    }

    fn refused(times: &mut ServiceTimes, now: Instant, left: Duration) -> usize {
        (0..100).filter(|_| times.judge(now, left).is_err()).count()
    }

    #[test]
    fn too_few_times_refuse_nothing() {
        let (mut times, now) = after(16, ms(40));
        assert_eq!(refused(&mut times, now, ms(3)), 0);
    }

    #[test]
    fn a_call_that_cannot_be_done_is_refused_and_one_of_ten_let_through() {
        let (mut times, now) = after(24, ms(40));
        assert_eq!(times.judge(now, ms(3)), Err(TooLate { usual: ms(40) }));
        assert_eq!(refused(&mut times, now, ms(3)), 90);
    }

    #[test]
    fn a_call_with_the_usual_time_is_never_refused() {
        let (mut times, now) = after(64, ms(40));
        assert_eq!(refused(&mut times, now, ms(40)), 0);
    }

    #[test]
    fn a_method_with_quick_and_slow_answers_is_judged_by_its_quick_ones() {
        let mut times = ServiceTimes::default();
        let now = Instant::now();
        for call in 0..KEPT {
            times.record(now, if call % 5 == 0 { ms(2) } else { ms(400) });
        }
        assert_eq!(refused(&mut times, now, ms(3)), 0);
        assert!(times.judge(now, ms(1)).is_err());
    }

    #[test]
    fn a_method_that_became_quick_is_found_out_by_the_calls_that_were_let_through() {
        let (mut times, now) = after(64, ms(400));
        let mut calls = 0;
        while refused(&mut times, now, ms(5)) > 0 {
            calls += 1;
            times.record(now, ms(1));
            assert!(calls <= 16, "it never heals");
        }
    }

    #[test]
    fn old_times_refuse_nothing() {
        let (mut times, now) = after(64, ms(40));
        let later = now + FRESH + ms(1);
        assert_eq!(refused(&mut times, later, ms(3)), 0);
        // A handful of new ones do not bring the old ones back.
        for _ in 0..EVERY {
            times.record(later, ms(40));
        }
        assert_eq!(refused(&mut times, later, ms(3)), 0);
    }
}
