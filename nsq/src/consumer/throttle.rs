//! Backing off: when messages fail, fewer are taken, for longer and longer. A pure value with the time and
//! the randomness handed in.

use std::time::Duration;

use rand::{Rng, RngExt};
use tokio::time::Instant;

use crate::error::ConfigError;

/// No wait is longer than this many doublings; a level as high is never reached.
const MOST_DOUBLINGS: u32 = 31;

/// Whether, and how, a consumer backs off when messages fail.
///
/// A *failure* is a [`requeue`](crate::Message::requeue), a *success* a [`finish`](crate::Message::finish);
/// [`requeue_without_backoff`](crate::Message::requeue_without_backoff) and a message dropped unanswered
/// are neither. Each failure raises the level by one, each success lowers it by one, and after each answer
/// above level 0 nothing is taken (RDY 0) for a while that grows with the level. Then one message is asked
/// for, as a test, and its answer decides about the next level. At level 0 all of `max_in_flight` is used.
/// Answers of messages taken earlier that come during the wait count nothing, so one bad moment is one
/// level.
///
/// This is what the Go client does, in the same order on the wire: the change of RDY goes out before the
/// FIN or REQ that caused it.
///
/// ```
/// use async_nsq::BackoffPolicy;
/// use std::time::Duration;
///
/// let policy = BackoffPolicy::FullJitter {
///     unit: Duration::from_millis(100),
///     longest: Duration::from_secs(30),
/// };
/// assert_eq!(policy.ceiling(1), Duration::from_millis(200)); // the first wait is no longer
/// assert_eq!(BackoffPolicy::exponential().ceiling(6), Duration::from_secs(64));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackoffPolicy {
    /// Failures change nothing. Right where a failure says something about the message, not about what
    /// all messages need.
    #[default]
    Off,
    /// Waits `unit` × 2^level. The level stops growing where the next wait would be over `longest`.
    Exponential {
        /// Half of the first wait. The Go client's default is 1 s.
        unit: Duration,
        /// No wait is longer. The Go client's default is 2 min.
        longest: Duration,
    },
    /// The same, with each wait drawn evenly from zero to that, so that consumers which failed together
    /// do not come back together.
    FullJitter {
        /// As with [`Exponential`](BackoffPolicy::Exponential).
        unit: Duration,
        /// As with [`Exponential`](BackoffPolicy::Exponential).
        longest: Duration,
    },
}

/// Where a consumer stands in backing off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackoffState {
    /// At level 0: all of `max_in_flight` is used.
    #[default]
    Inactive,
    /// Nothing is taken until a moment.
    Waiting {
        /// From 1.
        level: u32,
        /// When a test message is asked for.
        until: Instant,
    },
    /// One message is taken, as a test.
    Testing {
        /// From 1.
        level: u32,
    },
}

/// What an answer says about how things go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Success,
    Failure,
    Neither,
}

/// The level of backing off, and its timer.
#[derive(Debug)]
pub(super) struct Throttle {
    policy: BackoffPolicy,
    state: BackoffState,
}

// === impl BackoffPolicy ===

impl BackoffPolicy {
    /// As the Go client by default: 2 s first, 64 s at most.
    pub fn exponential() -> Self {
        Self::Exponential {
            unit: Duration::from_secs(1),
            longest: Duration::from_secs(120),
        }
    }

    /// The same with full jitter.
    pub fn full_jitter() -> Self {
        Self::FullJitter {
            unit: Duration::from_secs(1),
            longest: Duration::from_secs(120),
        }
    }

    /// The longest wait at this level.
    pub fn ceiling(&self, level: u32) -> Duration {
        match *self {
            Self::Off => Duration::ZERO,
            Self::Exponential { unit, .. } | Self::FullJitter { unit, .. } => {
                unit.saturating_mul(1 << level.min(MOST_DOUBLINGS))
            }
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        match *self {
            Self::Off => Ok(()),
            Self::Exponential { unit, longest } | Self::FullJitter { unit, longest } => {
                if unit.is_zero() || longest < self.ceiling(1) || unit > longest {
                    return Err(ConfigError {
                        field: "backoff",
                        expected: "a unit of more than nothing and a longest wait of at least twice that",
                    });
                }
                Ok(())
            }
        }
    }

    fn longest(&self) -> Duration {
        match *self {
            Self::Off => Duration::ZERO,
            Self::Exponential { longest, .. } | Self::FullJitter { longest, .. } => longest,
        }
    }

    fn wait(&self, level: u32, rng: &mut impl Rng) -> Duration {
        let ceiling = self.ceiling(level).min(self.longest());
        match self {
            Self::FullJitter { .. } => ceiling.mul_f64(rng.random::<f64>()),
            Self::Off | Self::Exponential { .. } => ceiling,
        }
    }
}

// === impl BackoffState ===

impl BackoffState {
    /// How far it has backed off; 0 where it has not.
    pub fn level(&self) -> u32 {
        match *self {
            Self::Inactive => 0,
            Self::Waiting { level, .. } | Self::Testing { level } => level,
        }
    }
}

// === impl Throttle ===

impl Throttle {
    pub(super) fn new(policy: BackoffPolicy) -> Self {
        Self {
            policy,
            state: BackoffState::Inactive,
        }
    }

    pub(super) fn state(&self) -> BackoffState {
        self.state
    }

    /// Takes what an answer says; tells whether that changed anything.
    pub(super) fn take(&mut self, verdict: Verdict, now: Instant, rng: &mut impl Rng) -> bool {
        if self.policy == BackoffPolicy::Off || matches!(self.state, BackoffState::Waiting { .. }) {
            return false;
        }
        let before = self.state.level();
        let level = match verdict {
            Verdict::Success => before.saturating_sub(1),
            Verdict::Failure if self.policy.ceiling(before + 1) <= self.policy.longest() => before + 1,
            Verdict::Failure | Verdict::Neither => before,
        };
        if level == 0 {
            self.state = BackoffState::Inactive;
            return before > 0;
        }
        self.state = BackoffState::Waiting {
            level,
            until: now + self.policy.wait(level, rng),
        };
        true
    }

    /// Ends a wait that is over; tells whether one was.
    pub(super) fn wake(&mut self, now: Instant) -> bool {
        match self.state {
            BackoffState::Waiting { level, until } if until <= now => {
                self.state = BackoffState::Testing { level };
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The waits of these verdicts, each given as soon as the wait before is over.
    fn waits(policy: BackoffPolicy, verdicts: &[Verdict]) -> Vec<Duration> {
        let mut throttle = Throttle::new(policy);
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for &verdict in verdicts {
            throttle.take(verdict, now, &mut rand::rng());
            let until = match throttle.state() {
                BackoffState::Waiting { until, .. } => until,
                _ => now,
            };
            waits.push(until - now);
            now = until;
            throttle.wake(now);
        }
        waits
    }

    #[test]
    fn waits_double_to_the_last_that_fits_and_halve_on_the_way_down() {
        use Verdict::{Failure, Success};
        let up = waits(BackoffPolicy::exponential(), &[Failure; 8]);
        let seconds: Vec<u64> = up.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32, 64, 64, 64]);
        let verdicts = [[Failure; 6].as_slice(), [Success; 7].as_slice()].concat();
        let down = waits(BackoffPolicy::exponential(), &verdicts).split_off(6);
        let seconds: Vec<u64> = down.iter().map(Duration::as_secs).collect();
        assert_eq!(seconds, [32, 16, 8, 4, 2, 0, 0]);
    }

    #[test]
    fn an_answer_that_is_neither_keeps_the_level_and_answers_during_a_wait_count_nothing() {
        let now = Instant::now();
        let mut throttle = Throttle::new(BackoffPolicy::exponential());
        assert!(!throttle.take(Verdict::Neither, now, &mut rand::rng()));
        assert!(throttle.take(Verdict::Failure, now, &mut rand::rng()));
        for verdict in [Verdict::Failure, Verdict::Success, Verdict::Neither] {
            assert!(!throttle.take(verdict, now + SECOND, &mut rand::rng()));
        }
        assert!(!throttle.wake(now + SECOND));
        assert!(throttle.wake(now + 2 * SECOND));
        assert_eq!(throttle.state(), BackoffState::Testing { level: 1 });
        assert!(throttle.take(Verdict::Neither, now + 2 * SECOND, &mut rand::rng()));
        let until = now + 4 * SECOND;
        assert_eq!(throttle.state(), BackoffState::Waiting { level: 1, until });
    }

    #[test]
    fn a_policy_that_cannot_wait_is_refused() {
        assert!(BackoffPolicy::exponential().validate().is_ok());
        let (unit, longest) = (SECOND, SECOND);
        assert!(BackoffPolicy::Exponential { unit, longest }.validate().is_err());
        let (unit, longest) = (Duration::ZERO, SECOND);
        assert!(BackoffPolicy::FullJitter { unit, longest }.validate().is_err());
    }

    proptest! {
        #[test]
        fn a_jittered_wait_is_never_over_what_it_would_be_without_and_the_levels_are_the_same(
            failures in prop::collection::vec(any::<bool>(), 1..60),
        ) {
            let verdict = |failed| if failed { Verdict::Failure } else { Verdict::Success };
            let verdicts: Vec<Verdict> = failures.into_iter().map(verdict).collect();
            let plain = waits(BackoffPolicy::exponential(), &verdicts);
            let jittered = waits(BackoffPolicy::full_jitter(), &verdicts);
            for (plain, jittered) in plain.iter().zip(&jittered) {
                prop_assert!(jittered <= plain);
            }
        }
    }
}
