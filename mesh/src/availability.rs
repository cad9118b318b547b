//! Whether a target takes work now: for consumers that would rather wait than fail.

use std::borrow::Cow;

use tokio::time::Instant;

/// Whether a target takes work now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Availability {
    /// Yes or no.
    pub state: AvailabilityState,
    /// Why it is as it is.
    pub reason: Cow<'static, str>,
    /// When the target is asked again whether it is well; `None` while it is available. Nobody needs to act on
    /// it: availability changes by itself. It moves on without waking those who watch.
    pub retry_at: Option<Instant>,
    /// The circuit is half-open: one call at a time is let through, others are refused unsent. A consumer may
    /// take one piece of work and wait for its end.
    pub one_at_a_time: bool,
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AvailabilityState {
    /// Take work.
    Available,
    /// Do not take work.
    Unavailable,
}

// === impl Availability ===

impl Availability {
    /// Whether the state is [`AvailabilityState::Available`].
    pub fn is_available(&self) -> bool {
        self.state == AvailabilityState::Available
    }

    pub(crate) fn yes(reason: &'static str, one_at_a_time: bool) -> Self {
        Self {
            state: AvailabilityState::Available,
            reason: reason.into(),
            retry_at: None,
            one_at_a_time,
        }
    }

    pub(crate) fn no(reason: impl Into<Cow<'static, str>>, retry_at: Option<Instant>) -> Self {
        Self {
            state: AvailabilityState::Unavailable,
            reason: reason.into(),
            retry_at,
            one_at_a_time: false,
        }
    }
}
