//! What a circuit tells the metrics and the log.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::{CircuitState, OpenedBy, Outcome};
use crate::metric_names;

/// Handles that are looked up once. Without a recorder they cost a branch each.
pub(super) struct Meters {
    state: Gauge,
    success: Counter,
    failure: Counter,
    overload: Counter,
    ignored: Counter,
    pub(super) rejected: Counter,
    pub(super) late: Counter,
    soft_openings_refused: Counter,
    seconds: Histogram,
}

/// A change of state as the log has it.
pub(super) struct Change<'a> {
    pub(super) from: CircuitState,
    pub(super) to: CircuitState,
    pub(super) opened_by: Option<OpenedBy>,
    pub(super) open_for: Option<Duration>,
    pub(super) why: Option<&'a str>,
}

// === impl Meters ===

impl Meters {
    pub(super) fn new(name: &str) -> Self {
        let target = || name.to_owned();
        let calls = |outcome: Outcome| metrics::counter!(metric_names::CALLS, "target" => target(), "outcome" => outcome.as_str());
        let meters = Self {
            state: metrics::gauge!(metric_names::CIRCUIT_STATE, "target" => target()),
            success: calls(Outcome::Success),
            failure: calls(Outcome::Failure),
            overload: calls(Outcome::Overload),
            ignored: calls(Outcome::Ignored),
            rejected: metrics::counter!(metric_names::CALLS_REJECTED, "target" => target()),
            late: metrics::counter!(metric_names::LATE_RESULTS, "target" => target()),
            soft_openings_refused: metrics::counter!(metric_names::SOFT_OPENINGS_REFUSED, "target" => target()),
            seconds: metrics::histogram!(metric_names::CALL_SECONDS, "target" => target()),
        };
        meters.state(CircuitState::Closed);
        meters
    }

    pub(super) fn ended(&self, outcome: Outcome) {
        match outcome {
            Outcome::Success => self.success.increment(1),
            Outcome::Failure => self.failure.increment(1),
            Outcome::Overload => self.overload.increment(1),
            Outcome::Ignored => self.ignored.increment(1),
        }
    }

    pub(super) fn took(&self, time: Duration) {
        self.seconds.record(time.as_secs_f64());
    }

    pub(super) fn state(&self, state: CircuitState) {
        self.state.set(match state {
            CircuitState::Closed => 0.0,
            CircuitState::HalfOpen => 1.0,
            CircuitState::Open => 2.0,
        });
    }

    pub(super) fn withheld(&self, name: &str, evidence: OpenedBy) {
        self.soft_openings_refused.increment(1);
        tracing::warn!(
            target_name = name,
            evidence = %evidence,
            "circuit not opened, too many of the target's are open on soft evidence"
        );
    }
}

pub(super) fn tell(name: &str, change: &Change<'_>) {
    let (from, to) = (change.from.as_str(), change.to.as_str());
    metrics::counter!(
        metric_names::CIRCUIT_TRANSITIONS,
        "target" => name.to_owned(),
        "from" => from,
        "to" => to,
    )
    .increment(1);
    match change.to {
        CircuitState::Open => tracing::warn!(
            target_name = name,
            from,
            to,
            opened_by = change.opened_by.map(OpenedBy::as_str),
            open_for_ms = change.open_for.map(|time| time.as_millis() as u64),
            why = change.why,
            "circuit opened"
        ),
        CircuitState::HalfOpen => {
            tracing::info!(target_name = name, from, to, "circuit lets one call through")
        }
        CircuitState::Closed => tracing::info!(target_name = name, from, to, "circuit closed"),
    }
}
