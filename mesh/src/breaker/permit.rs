//! The right to make one call.

use std::borrow::Borrow;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::{Admission, Circuit, Outcome};
use crate::classify::Verdict;
use crate::error::CallError;

/// The right to make one call, and the duty to say how it ended. Dropped without a word it counts as
/// [`Outcome::Ignored`]: where it held the one slot of a half-open circuit, the slot is free again.
///
/// `C` is how it holds its circuit: a clone of it, by default; a reference, from [`Circuit::enter`]; or whatever
/// else a circuit can be borrowed from, such as the endpoint that it guards.
#[must_use = "a permit that is dropped says that nothing was learned"]
pub struct Permit<C: Borrow<Circuit> = Circuit> {
    circuit: C,
    admission: Admission,
    started: Option<Instant>,
    ended: bool,
}

// === impl Permit ===

impl<C: Borrow<Circuit>> Permit<C> {
    /// Asks the circuit in `holder` for the right to make a call that starts at `started`, if the caller has looked
    /// at the clock. It is looked at here if the policy has to know and the caller does not say.
    ///
    /// # Errors
    /// [`CallError::CircuitOpen`] and [`CallError::TrialRunning`].
    #[inline]
    pub fn ask(holder: C, started: Option<Instant>) -> Result<Self, CallError> {
        let (admission, started) = holder.borrow().admission(started)?;
        Ok(Self {
            circuit: holder,
            admission,
            started,
            ended: false,
        })
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
        self.circuit.borrow()
    }

    /// What it holds its circuit by.
    pub fn holder(&self) -> &C {
        &self.circuit
    }

    /// Says how the call ended; `why` is kept for those who ask why the circuit opened.
    #[inline]
    pub fn end(mut self, outcome: Outcome, why: Option<&str>) {
        self.ended = true;
        self.circuit()
            .settle(self.admission, self.started, outcome, None, why);
    }

    /// Says that the call ended with the server's wish to be left alone for this time. With a failure or an
    /// overload the circuit opens for exactly as long, at most for
    /// [`pushback_longest`](super::Policy::pushback_longest); a time of zero is no wish.
    pub fn end_with_pushback(mut self, outcome: Outcome, pushback: Duration, why: Option<&str>) {
        self.ended = true;
        self.circuit()
            .settle(self.admission, self.started, outcome, Some(pushback), why);
    }

    pub(crate) fn judge(self, verdict: &Verdict) {
        match verdict.pushback {
            Some(pushback) => self.end_with_pushback(verdict.outcome, pushback, Some(&verdict.why)),
            None => self.end(verdict.outcome, Some(&verdict.why)),
        }
    }
}

impl Permit<&Circuit> {
    /// The same permit, with a clone of its circuit.
    #[inline]
    pub fn into_owned(mut self) -> Permit {
        self.ended = true;
        Permit {
            circuit: self.circuit.clone(),
            admission: self.admission,
            started: self.started,
            ended: false,
        }
    }
}

impl<C: Borrow<Circuit>> Drop for Permit<C> {
    #[inline]
    fn drop(&mut self) {
        if !self.ended {
            self.circuit()
                .settle(self.admission, self.started, Outcome::Ignored, None, None);
        }
    }
}

impl<C: Borrow<Circuit>> fmt::Debug for Permit<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("circuit", &self.circuit().name())
            .field("admission", &self.admission)
            .field("started", &self.started)
            .finish()
    }
}
