//! Orders to the endpoints of a target.

use std::sync::Arc;

use crate::balancer::Choice;
use crate::breaker::Circuit;

/// One endpoint of a target, or all that it has now, to be ordered about: [`Target::endpoint`](crate::Target::endpoint).
///
/// An order holds the circuit and nothing else: one that is forced closed still gets no call while there is no
/// connection to it or its probe fails. It ends with the endpoint: one that leaves the name and comes back is new.
/// Keeping a handle does not keep its endpoint.
#[derive(Clone, Debug)]
pub struct EndpointHandle {
    target: Arc<str>,
    circuits: Vec<(Arc<str>, Circuit)>,
}

/// A target has no such endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("target {target} has no endpoint {endpoint}; it has {}", if .known.is_empty() { "none".to_owned() } else { .known.join(", ") })]
pub struct UnknownEndpoint {
    /// The target.
    pub target: String,
    /// What was asked for.
    pub endpoint: String,
    /// Those that it has.
    pub known: Vec<String>,
}

// === impl EndpointHandle ===

impl EndpointHandle {
    /// The name that stands for every endpoint of a target.
    pub const ALL: &str = "all";

    pub(crate) fn of(target: &Arc<str>, choice: &Choice, endpoint: &str) -> Result<Self, UnknownEndpoint> {
        let circuits: Vec<_> = choice
            .all
            .iter()
            .filter(|one| endpoint == Self::ALL || &*one.name == endpoint)
            .map(|one| (one.name.clone(), one.circuit.clone()))
            .collect();
        if circuits.is_empty() {
            return Err(UnknownEndpoint {
                target: target.to_string(),
                endpoint: endpoint.to_owned(),
                known: choice.all.iter().map(|one| one.name.to_string()).collect(),
            });
        }
        Ok(Self {
            target: target.clone(),
            circuits,
        })
    }

    /// The addresses of the endpoints that it stands for.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.circuits.iter().map(|(name, _)| &**name)
    }

    /// Opens the circuit until [`reset`](Self::reset) or [`force_closed`](Self::force_closed): neither time nor a
    /// probe lets a call in. Calls that are under way go on. `why` is told to those who ask.
    pub fn force_open(&self, why: &str) {
        self.order("force open", why, |circuit| circuit.force_open(why));
    }

    /// Closes the circuit until [`reset`](Self::reset) or [`force_open`](Self::force_open): whatever calls come to,
    /// it stays closed.
    pub fn force_closed(&self) {
        self.order("force closed", "", Circuit::force_closed);
    }

    /// Ends all orders: the circuit is closed as if it were new.
    pub fn reset(&self) {
        self.order("reset", "", Circuit::reset);
    }

    fn order(&self, order: &'static str, why: &str, act: impl Fn(&Circuit)) {
        for (endpoint, circuit) in &self.circuits {
            tracing::warn!(
                target_name = &*self.target,
                endpoint = &**endpoint,
                order,
                why,
                "circuit ordered"
            );
            act(circuit);
        }
    }
}
