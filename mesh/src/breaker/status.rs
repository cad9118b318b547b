//! Where a circuit stands.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Breaker, CircuitState, OpenedBy};

/// Where a circuit stands, for those who watch it.
#[derive(Clone, Debug)]
pub struct CircuitStatus {
    /// The state.
    pub state: CircuitState,
    /// Counts the changes of the circuit.
    pub generation: u64,
    /// When the state was entered.
    pub since: Instant,
    /// When the present break ends; `None` unless the circuit is open, and where it was forced open.
    pub open_until: Option<Instant>,
    /// What the last failure was that opened the circuit.
    pub last_failure: Option<Arc<str>>,
    /// What opened the circuit in the first place; `None` while it is closed.
    pub opened_by: Option<OpenedBy>,
    /// [`opened_by`](Self::opened_by) and [`last_failure`](Self::last_failure) in a line, as errors say it.
    pub evidence: Option<Arc<str>>,
    /// Whether it was forced open or closed, and stays so until it is reset.
    pub forced: bool,
}

/// What of a state machine others can see change.
#[derive(PartialEq)]
pub(super) struct Standing {
    pub(super) state: CircuitState,
    pub(super) generation: u64,
    pub(super) open_until: Option<Instant>,
    pub(super) opened_by: Option<OpenedBy>,
    pub(super) forced: bool,
}

// === impl CircuitStatus ===

impl CircuitStatus {
    pub(super) fn of(breaker: &Breaker, last_failure: Option<Arc<str>>) -> Self {
        let opened_by = breaker.opened_by();
        let evidence = opened_by.map(|opened_by| opened_by.explain(last_failure.as_deref()).into());
        Self {
            state: breaker.state(),
            generation: breaker.generation(),
            since: breaker.since(),
            open_until: breaker.open_until(),
            last_failure,
            opened_by,
            evidence,
            forced: breaker.is_forced(),
        }
    }
}

// === impl Standing ===

impl Standing {
    pub(super) fn of(breaker: &Breaker) -> Self {
        Self {
            state: breaker.state(),
            generation: breaker.generation(),
            open_until: breaker.open_until(),
            opened_by: breaker.opened_by(),
            forced: breaker.is_forced(),
        }
    }
}
