//! What a circuit keeps behind its lock.

use tokio::time::Instant;

use super::cap::Place;
use super::gate::Gated;
use super::history::History;
use super::{Breaker, Cap, CircuitState, OpenedBy, Transition};

/// The state machine, and what changes with it.
pub(super) struct Driven {
    pub(super) breaker: Breaker,
    /// Held while the circuit is open by soft evidence.
    pub(super) place: Option<Place>,
    pub(super) history: History,
}

// === impl Driven ===

impl Driven {
    pub(super) fn new(breaker: Breaker) -> Self {
        Self {
            breaker,
            place: None,
            history: History::new(),
        }
    }

    /// Remembers that the circuit was not allowed to open.
    pub(super) fn withhold(&mut self, evidence: OpenedBy, cap: Option<&Cap>, now: Instant) {
        let (open, limit) = cap.map_or((0, 0), |cap| (cap.softly_open(), cap.limit()));
        self.history.push(Transition {
            at: now,
            from: CircuitState::Closed,
            to: CircuitState::Closed,
            evidence: format!("{evidence}; not opened, {open} of at most {limit} are").into(),
        });
    }
}

impl Gated for Driven {
    fn generation(&self) -> u64 {
        self.breaker.generation()
    }

    fn passes_freely(&self) -> bool {
        self.breaker.state() == CircuitState::Closed
    }

    fn is_clear(&self) -> bool {
        self.breaker.is_clear()
    }
}
