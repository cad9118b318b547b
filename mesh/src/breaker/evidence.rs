//! What is learned from a call, and what opened a circuit.

use std::fmt;
use std::time::Duration;

use super::Span;

/// How an admitted call ended, as far as it says something about the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service did its work, or said rightly that the request was at fault.
    Success,
    /// The service, or the way to it, is broken.
    Failure,
    /// The service is alive and has no room. Without a pushback it neither closes a circuit nor opens one.
    Overload,
    /// Nothing was learned: the caller went away, or it never was sent for a reason of our own.
    Ignored,
}

/// All that a circuit learns from the end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took; `None` where nobody looked at the clock. Only a policy for slow calls wants it.
    pub took: Option<Duration>,
    /// For how long the server asked to be left alone. It counts with a failure or an overload.
    pub pushback: Option<Duration>,
}

/// What opened a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenedBy {
    /// Failures in a row.
    Consecutive {
        /// So many.
        failures: u32,
    },
    /// Soft evidence: too many of the calls in the window failed.
    FailureRate {
        /// Those that failed.
        failed: u32,
        /// Out of so many.
        calls: u32,
        /// Over this.
        over: Span,
    },
    /// Soft evidence: too many of the calls in the window were slow.
    SlowCalls {
        /// Those that were slow.
        slow: u32,
        /// Out of so many.
        calls: u32,
        /// What makes a call slow.
        slower_than: Duration,
        /// Over this.
        over: Span,
    },
    /// The server asked to be left alone.
    Pushback {
        /// For so long.
        time: Duration,
    },
    /// Hard evidence: the service is certainly not there. A connection was refused, or a health check said so.
    Hard,
    /// Somebody's order.
    Forced,
}

// === impl Outcome ===

impl Outcome {
    /// `success`, `failure`, `overload` or `ignored`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Overload => "overload",
            Self::Ignored => "ignored",
        }
    }
}

// === impl Report ===

impl From<Outcome> for Report {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            took: None,
            pushback: None,
        }
    }
}

impl Report {
    /// The server's wish, where it is one: gRPC says "at once" by zero.
    pub(super) fn wish(&self) -> Option<Duration> {
        let asks = matches!(self.outcome, Outcome::Failure | Outcome::Overload);
        self.pushback.filter(|time| asks && !time.is_zero())
    }
}

// === impl OpenedBy ===

impl OpenedBy {
    /// Whether a rate opened it, so that it counts against the [`Cap`](super::Cap).
    pub fn is_soft(self) -> bool {
        matches!(self, Self::FailureRate { .. } | Self::SlowCalls { .. })
    }

    /// `consecutive`, `failure_rate`, `slow_calls`, `pushback`, `hard` or `forced`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive { .. } => "consecutive",
            Self::FailureRate { .. } => "failure_rate",
            Self::SlowCalls { .. } => "slow_calls",
            Self::Pushback { .. } => "pushback",
            Self::Hard => "hard",
            Self::Forced => "forced",
        }
    }

    /// In a line, with the reason of what came last.
    pub(super) fn explain(self, why: Option<&str>) -> String {
        match (why.filter(|why| !why.is_empty()), self) {
            (Some(why), Self::Consecutive { .. } | Self::FailureRate { .. }) => {
                format!("{self}, the last: {why}")
            }
            // The reason of a call that was only slow is none.
            (Some(_), Self::SlowCalls { .. }) | (None, _) => self.to_string(),
            (Some(why), Self::Pushback { .. } | Self::Hard | Self::Forced) => format!("{self}: {why}"),
        }
    }
}

impl fmt::Display for OpenedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Consecutive { failures: 1 } => write!(f, "a failure"),
            Self::Consecutive { failures } => write!(f, "{failures} failures in a row"),
            Self::FailureRate { failed, calls, over } => {
                write!(f, "soft evidence: {failed} of {calls} calls failed{}", Over(over))
            }
            Self::SlowCalls {
                slow,
                calls,
                slower_than,
                over,
            } => write!(
                f,
                "soft evidence: {slow} of {calls} calls took more than {slower_than:?}{}",
                Over(over)
            ),
            Self::Pushback { time } => write!(f, "the server asked to be left alone for {time:?}"),
            Self::Hard => write!(f, "hard evidence"),
            Self::Forced => write!(f, "forced open"),
        }
    }
}

/// A window of calls needs no word: the number of calls says it.
struct Over(Span);

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Span::Calls(_) => Ok(()),
            Span::Time(time) => write!(f, " in {time:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn what_opened_a_circuit_is_told_in_a_line() {
        let over = Span::Time(Duration::from_secs(10));
        let rate = |over| OpenedBy::FailureRate {
            failed: 12,
            calls: 20,
            over,
        };
        let slow = OpenedBy::SlowCalls {
            slow: 6,
            calls: 10,
            slower_than: Duration::from_millis(250),
            over,
        };
        let time = Duration::from_millis(1500);
        for (opened_by, why, line) in [
            (
                OpenedBy::Consecutive { failures: 5 },
                Some("Internal: oops"),
                "5 failures in a row, the last: Internal: oops",
            ),
            (OpenedBy::Consecutive { failures: 1 }, None, "a failure"),
            (rate(over), None, "soft evidence: 12 of 20 calls failed in 10s"),
            (
                rate(Span::Calls(20)),
                Some("Internal: oops"),
                "soft evidence: 12 of 20 calls failed, the last: Internal: oops",
            ),
            (
                slow,
                Some(""),
                "soft evidence: 6 of 10 calls took more than 250ms in 10s",
            ),
            (
                OpenedBy::Pushback { time },
                Some("ResourceExhausted: full"),
                "the server asked to be left alone for 1.5s: ResourceExhausted: full",
            ),
            (
                OpenedBy::Hard,
                Some("connection refused"),
                "hard evidence: connection refused",
            ),
            (OpenedBy::Forced, Some("game day"), "forced open: game day"),
        ] {
            assert_eq!(opened_by.explain(why), line);
        }
    }
}
