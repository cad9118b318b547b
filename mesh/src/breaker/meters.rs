//! What a circuit tells the metrics and the log.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Label};

use super::{CircuitState, OpenedBy, Outcome};
use crate::metric_names;

/// What a circuit is called in metrics and log.
pub(super) struct Names {
    pub(super) target: Arc<str>,
    /// Where several circuits have one target.
    pub(super) endpoint: Option<Arc<str>>,
}

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

// === impl Names ===

impl Names {
    fn labels(&self) -> Vec<Label> {
        let mut labels = vec![Label::new("target", self.target.to_string())];
        if let Some(endpoint) = &self.endpoint {
            labels.push(Label::new("endpoint", endpoint.to_string()));
        }
        labels
    }
}

// === impl Meters ===

impl Meters {
    pub(super) fn new(names: &Names) -> Self {
        let calls = |outcome: Outcome| {
            let mut labels = names.labels();
            labels.push(Label::new("outcome", outcome.as_str()));
            metrics::counter!(metric_names::CALLS, labels)
        };
        let meters = Self {
            state: metrics::gauge!(metric_names::CIRCUIT_STATE, names.labels()),
            success: calls(Outcome::Success),
            failure: calls(Outcome::Failure),
            overload: calls(Outcome::Overload),
            ignored: calls(Outcome::Ignored),
            rejected: metrics::counter!(metric_names::CALLS_REJECTED, names.labels()),
            late: metrics::counter!(metric_names::LATE_RESULTS, names.labels()),
            soft_openings_refused: metrics::counter!(metric_names::SOFT_OPENINGS_REFUSED, names.labels()),
            // Times of a target add up, and its buckets times endpoints that come and go would not end.
            seconds: metrics::histogram!(metric_names::CALL_SECONDS, "target" => names.target.to_string()),
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

    pub(super) fn withheld(&self, names: &Names, evidence: OpenedBy) {
        self.soft_openings_refused.increment(1);
        tracing::warn!(
            target_name = &*names.target,
            endpoint = names.endpoint.as_deref(),
            evidence = %evidence,
            "circuit not opened, too many of the target's are open on soft evidence"
        );
    }
}

impl Drop for Meters {
    /// An endpoint that has gone is not one that is away: nobody is to be woken for it.
    fn drop(&mut self) {
        self.state(CircuitState::Closed);
    }
}

pub(super) fn tell(names: &Names, change: &Change<'_>) {
    let (from, to) = (change.from.as_str(), change.to.as_str());
    let mut labels = names.labels();
    labels.extend([Label::new("from", from), Label::new("to", to)]);
    metrics::counter!(metric_names::CIRCUIT_TRANSITIONS, labels).increment(1);
    let (target_name, endpoint) = (&*names.target, names.endpoint.as_deref());
    match change.to {
        CircuitState::Open => tracing::warn!(
            target_name,
            endpoint,
            from,
            to,
            opened_by = change.opened_by.map(OpenedBy::as_str),
            open_for_ms = change.open_for.map(|time| time.as_millis() as u64),
            why = change.why,
            "circuit opened"
        ),
        CircuitState::HalfOpen => {
            tracing::info!(target_name, endpoint, from, to, "circuit lets one call through")
        }
        CircuitState::Closed => tracing::info!(target_name, endpoint, from, to, "circuit closed"),
    }
}
