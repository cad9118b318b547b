//! What became of an attempt to tell somebody.

use std::time::Duration;

/// What is to be written about a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The message went out.
    Sent,
    /// It never will, for this reason.
    Failed(String),
    /// It did not this time.
    Again {
        /// When to try again.
        delay: Duration,
        /// Why it did not.
        why: String,
    },
    /// Nothing went out, and that is not about this message.
    Wait {
        /// When to look again.
        delay: Duration,
        /// What it waits for.
        why: String,
    },
    /// Not now, though nothing is wrong.
    Later(Duration),
    /// The address wants to hear no more.
    Closed,
}

// === impl Verdict ===

impl Verdict {
    /// After a try that went wrong: again after `pause`, or failed where there is none.
    pub(crate) fn again_or_failed(pause: Option<Duration>, why: String) -> Self {
        match pause {
            Some(delay) => Self::Again { delay, why },
            None => Self::Failed(format!("given up after three days: {why}")),
        }
    }

    /// The label of the metric that counts it.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed(_) => "failed",
            Self::Again { .. } => "retried",
            Self::Wait { .. } => "waiting",
            Self::Later(_) => "postponed",
            Self::Closed => "closed",
        }
    }
}
