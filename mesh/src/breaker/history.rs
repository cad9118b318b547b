//! The last changes of a circuit, for those who ask why it stands where it stands.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::CircuitState;

/// A change of a circuit's state, or one that was withheld.
#[derive(Clone, Debug)]
pub struct Transition {
    /// When it happened.
    pub at: Instant,
    /// The state before it.
    pub from: CircuitState,
    /// The state after it. Closed before and after: the circuit would have opened by soft evidence, but too many
    /// others of its target were open.
    pub to: CircuitState,
    /// Why, in a line.
    pub evidence: Arc<str>,
}

/// The last [`Transition`]s, the oldest first.
#[derive(Debug)]
pub(super) struct History {
    last: VecDeque<Transition>,
}

/// How many transitions are kept.
const KEPT: usize = 16;

// === impl History ===

impl History {
    pub(super) fn new() -> Self {
        Self {
            last: VecDeque::new(),
        }
    }

    pub(super) fn push(&mut self, transition: Transition) {
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(transition);
    }

    pub(super) fn to_vec(&self) -> Vec<Transition> {
        self.last.iter().cloned().collect()
    }
}
