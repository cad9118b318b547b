//! Where a circuit stands, and what it answers to those who ask.

use std::time::Duration;

use super::OpenedBy;

/// Where a circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Calls pass.
    Closed,
    /// One call at a time passes, and its result decides.
    HalfOpen,
    /// No call passes.
    Open,
}

/// A call's admission, given back to [`Breaker::settle`](super::Breaker::settle) once, when the call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The generation of the circuit that admitted the call.
    pub generation: u64,
}

/// Why a call was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The circuit is open.
    Open {
        /// For how long calls have not been let through; earlier breaks of the same outage count.
        open_for: Duration,
        /// When this break ends; zero where only a probe is awaited. A circuit that was forced open has no such
        /// time, and says the policy's longest break.
        retry_in: Duration,
    },
    /// The circuit is half-open and its one call is under way.
    TrialRunning,
}

/// What a result did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was taken into account.
    Counted,
    /// The circuit has changed since the call was admitted; the result decides nothing.
    Late,
    /// It would have opened the circuit by this soft evidence, and was not allowed to. The windows begin anew.
    Withheld(OpenedBy),
}

// === impl CircuitState ===

impl CircuitState {
    /// `closed`, `half_open` or `open`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}
