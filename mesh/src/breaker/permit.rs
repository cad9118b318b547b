//! The right to make one call.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::{Admission, Circuit, Outcome};
use crate::classify::Verdict;

/// The right to make one call, and the duty to say how it ended. Dropped without a word it counts as
/// [`Outcome::Ignored`]: where it held the one slot of a half-open circuit, the slot is free again.
#[must_use = "a permit that is dropped says that nothing was learned"]
pub struct Permit {
    circuit: Circuit,
    admission: Admission,
    started: Option<Instant>,
    ended: bool,
}

// === impl Permit ===

impl Permit {
    pub(super) fn new(circuit: Circuit, admission: Admission, started: Option<Instant>) -> Self {
        Self {
            circuit,
            admission,
            started,
            ended: false,
        }
    }

    /// When the call was admitted; `None` where neither the caller said so nor the policy had to know.
    pub fn started(&self) -> Option<Instant> {
        self.started
    }

    /// The generation of the circuit that admitted the call. If the circuit has changed until the call ends, its
    /// result is counted and decides nothing.
    pub fn generation(&self) -> u64 {
        self.admission.generation
    }

    /// The circuit that gave it.
    pub fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// Says how the call ended; `why` is kept for those who ask why the circuit opened.
    pub fn end(mut self, outcome: Outcome, why: Option<&str>) {
        self.ended = true;
        self.circuit
            .settle(self.admission, self.started, outcome, None, why);
    }

    /// Says that the call ended with the server's wish to be left alone for this time. With a failure or an
    /// overload the circuit opens for exactly as long, at most for
    /// [`pushback_longest`](super::Policy::pushback_longest); a time of zero is no wish.
    pub fn end_with_pushback(mut self, outcome: Outcome, pushback: Duration, why: Option<&str>) {
        self.ended = true;
        self.circuit
            .settle(self.admission, self.started, outcome, Some(pushback), why);
    }

    pub(crate) fn judge(self, verdict: &Verdict) {
        match verdict.pushback {
            Some(pushback) => self.end_with_pushback(verdict.outcome, pushback, Some(&verdict.why)),
            None => self.end(verdict.outcome, Some(&verdict.why)),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.ended {
            self.circuit
                .settle(self.admission, self.started, Outcome::Ignored, None, None);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("circuit", &self.circuit.name())
            .field("admission", &self.admission)
            .field("started", &self.started)
            .finish()
    }
}
