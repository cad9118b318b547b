//! Where a target and its endpoints stand, for pages and logs.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::availability::Availability;
use crate::balancer::{Endpoint, Standing};
use crate::breaker::Transition;
use crate::call::Caller;

/// Where a target stands, for pages and logs. All times in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Its name.
    pub target: String,
    /// Its address, as it was given.
    pub address: String,
    /// Whether consumers should take work.
    pub available: bool,
    /// Why.
    pub reason: String,
    /// When it is worth asking again; `None` while it is available, or where nobody knows.
    pub retry_in_ms: Option<u64>,
    /// Calls that wait for others to end.
    pub waiting_calls: usize,
    /// Tries beyond the first that the budget would grant now.
    pub retries_left: u64,
    /// The faults that are injected into its calls now, a line each.
    pub faults: Vec<String>,
    /// Its endpoints, by address.
    pub endpoints: Vec<EndpointSnapshot>,
}

/// Where an endpoint stands. All times in milliseconds. Rates and percentiles are over the last 6 to 12 seconds.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointSnapshot {
    /// Its address.
    pub endpoint: String,
    /// `ready`, `trial` (one call at a time), `waiting` (for its first connection or probe) or `out`.
    pub standing: &'static str,
    /// Why it is out.
    pub why: Option<String>,
    /// When it is probed, or connected to, next; `None` while there is nothing to ask.
    pub next_probe_in_ms: Option<u64>,
    /// Whether there is a live connection.
    pub connected: bool,
    /// `closed`, `half_open` or `open`.
    pub circuit: &'static str,
    /// For how long the circuit has been so.
    pub circuit_for_ms: u64,
    /// Whether somebody has ordered it so.
    pub forced: bool,
    /// Counts the changes of the circuit.
    pub generation: u64,
    /// Failures in a row while it is closed.
    pub failures_in_a_row: u32,
    /// What opened it.
    pub last_failure: Option<String>,
    /// When the present break ends.
    pub open_for_another_ms: Option<u64>,
    /// The last changes of the circuit, and the openings that were withheld, the oldest first.
    pub transitions: Vec<TransitionSnapshot>,
    /// Calls whose responses have not ended.
    pub in_flight: u32,
    /// Calls that have ended a second.
    pub calls_per_second: f64,
    /// The part of them that failed, or for which there was no room, 0 to 1; `None` without calls.
    pub failure_part: Option<f64>,
    /// What a call takes to its headers, weighing the last half second most.
    pub latency_ms: f64,
    /// The median of the calls' times, to the end of their responses, within 7 %; `None` without calls.
    pub p50_ms: Option<f64>,
    /// The 99th percentile of the same.
    pub p99_ms: Option<f64>,
    /// What the choice weighs it by: the waiting that a call more would cost.
    pub load_cost_ms: f64,
    /// How far it has been ramped up since it was found well, 0.1 to 1.
    pub ramped: f64,
}

/// A change of a circuit, or one that was withheld (`closed` before and after it).
#[derive(Clone, Debug, Serialize)]
pub struct TransitionSnapshot {
    /// How long ago.
    pub ago_ms: u64,
    /// The state before.
    pub from: &'static str,
    /// The state after.
    pub to: &'static str,
    /// Why.
    pub evidence: String,
}

// === impl Snapshot ===

impl Snapshot {
    pub(crate) fn of(caller: &Caller, address: &str, availability: &Availability) -> Self {
        let now = Instant::now();
        let choice = caller.picker.choice();
        let faults = caller.faults.list().faults;
        Self {
            target: caller.target.to_string(),
            address: address.to_owned(),
            available: availability.is_available(),
            reason: availability.reason.to_string(),
            retry_in_ms: availability.retry_at.map(|at| until(at, now)),
            waiting_calls: caller.bulkhead.waiting(),
            retries_left: caller.budget.left(now),
            faults: faults.iter().map(ToString::to_string).collect(),
            endpoints: choice
                .all
                .iter()
                .map(|endpoint| EndpointSnapshot::of(endpoint, caller.picker.ramp(), now))
                .collect(),
        }
    }
}

// === impl EndpointSnapshot ===

impl EndpointSnapshot {
    fn of(endpoint: &Endpoint, ramp: Duration, now: Instant) -> Self {
        let status = endpoint.circuit.status();
        let standing = endpoint.standing();
        let recent = endpoint.circuit.recent(now);
        let (why, next_probe) = match &standing {
            Standing::Out { why, retry_at } => (Some(why.to_string()), *retry_at),
            Standing::Waiting | Standing::Ready | Standing::Trial => (None, None),
        };
        let transitions = endpoint.circuit.transitions();
        Self {
            endpoint: endpoint.name.to_string(),
            standing: standing.as_str(),
            why,
            next_probe_in_ms: next_probe.map(|at| until(at, now)),
            connected: endpoint.connection.is_up(),
            circuit: status.state.as_str(),
            circuit_for_ms: until(now, status.since),
            forced: status.forced,
            generation: status.generation,
            failures_in_a_row: endpoint.circuit.failures(),
            last_failure: status.last_failure.map(|why| why.to_string()),
            open_for_another_ms: status.open_until.map(|at| until(at, now)),
            transitions: transitions
                .iter()
                .map(|transition| TransitionSnapshot::of(transition, now))
                .collect(),
            in_flight: endpoint.load.in_flight(),
            calls_per_second: rounded(recent.calls_per_second),
            failure_part: recent.failure_part,
            latency_ms: millis(endpoint.load.latency_now(now)),
            p50_ms: recent.p50.map(millis),
            p99_ms: recent.p99.map(millis),
            load_cost_ms: rounded(endpoint.load.cost(now, ramp) / 1e3),
            ramped: rounded(endpoint.load.ramped(now, ramp)),
        }
    }
}

// === impl TransitionSnapshot ===

impl TransitionSnapshot {
    fn of(transition: &Transition, now: Instant) -> Self {
        Self {
            ago_ms: until(now, transition.at),
            from: transition.from.as_str(),
            to: transition.to.as_str(),
            evidence: transition.evidence.to_string(),
        }
    }
}

/// Milliseconds to `at`; 0 where it has passed.
fn until(at: Instant, now: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(now).as_millis()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

/// To a thousandth: nobody reads more digits.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
