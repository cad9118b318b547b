//! A circuit: the state machine, shared, with its clock, log and metrics.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, Histogram};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Admission, Breaker, CircuitState, Outcome, Policy, Refusal, Settled};
use crate::classify::Verdict;
use crate::error::CallError;
use crate::metric_names;

/// A circuit that many callers share. Clones are the same circuit.
#[derive(Clone)]
pub struct Circuit {
    shared: Arc<Shared>,
}

struct Shared {
    name: Arc<str>,
    /// Held for a few instructions, never across an await.
    breaker: Mutex<Breaker>,
    status: watch::Sender<CircuitStatus>,
    meters: Meters,
}

/// Where a circuit stands, for those who watch it.
#[derive(Clone, Debug)]
pub struct CircuitStatus {
    /// The state.
    pub state: CircuitState,
    /// Counts the changes of the circuit.
    pub generation: u64,
    /// When the state was entered.
    pub since: Instant,
    /// When the present break ends; `None` unless the circuit is open.
    pub open_until: Option<Instant>,
    /// What the last failure was that opened the circuit.
    pub last_failure: Option<Arc<str>>,
}

/// The right to make one call, and the duty to say how it ended. Dropped without a word it counts as
/// [`Outcome::Ignored`]: where it held the one slot of a half-open circuit, the slot is free again.
#[must_use = "a permit that is dropped says that nothing was learned"]
pub struct Permit {
    circuit: Circuit,
    admission: Admission,
    ended: bool,
}

struct Meters {
    state: Gauge,
    success: Counter,
    failure: Counter,
    overload: Counter,
    ignored: Counter,
    rejected: Counter,
    late: Counter,
    seconds: Histogram,
}

// === impl Circuit ===

impl Circuit {
    /// A closed circuit. Its name is the label `target` of metrics and log.
    pub fn new(name: impl Into<Arc<str>>, policy: Policy) -> Self {
        let name = name.into();
        let breaker = Breaker::new(policy, Instant::now());
        let meters = Meters::new(&name);
        meters.state.set(0.0);
        let (status, _) = watch::channel(CircuitStatus::of(&breaker, None));
        Self {
            shared: Arc::new(Shared {
                name,
                breaker: Mutex::new(breaker),
                status,
                meters,
            }),
        }
    }

    /// The name it was made with.
    pub fn name(&self) -> &Arc<str> {
        &self.shared.name
    }

    /// Where it stands. Changes are seen as they happen; a caller that is slow sees the last one.
    pub fn watch(&self) -> watch::Receiver<CircuitStatus> {
        self.shared.status.subscribe()
    }

    /// Where it stands now.
    pub fn status(&self) -> CircuitStatus {
        self.shared.status.borrow().clone()
    }

    /// Failures in a row that the closed circuit has seen.
    pub fn failures(&self) -> u32 {
        self.breaker().failures()
    }

    /// Asks for the right to make a call.
    ///
    /// # Errors
    /// [`CallError::CircuitOpen`] and [`CallError::TrialRunning`].
    pub fn admit(&self) -> Result<Permit, CallError> {
        let admitted = self.change(None, |breaker, now| breaker.admit(now));
        match admitted {
            Ok(admission) => Ok(Permit {
                circuit: self.clone(),
                admission,
                ended: false,
            }),
            Err(refusal) => Err(self.refused(refusal)),
        }
    }

    /// The same at a time that the caller has read already.
    pub(crate) fn admit_at(&self, _now: Instant) -> Result<Permit, CallError> {
        self.admit()
    }

    /// Whether a call would be let through now; takes no slot.
    pub(crate) fn would_admit(&self) -> Result<(), Refusal> {
        self.breaker().would_admit(Instant::now())
    }

    /// The error for a call that is refused; counts it.
    pub(crate) fn refused(&self, refusal: Refusal) -> CallError {
        self.shared.meters.rejected.increment(1);
        let target = self.shared.name.clone();
        match refusal {
            Refusal::Open { open_for, retry_in } => {
                let last_failure = self.shared.status.borrow().last_failure.clone();
                CallError::CircuitOpen {
                    target,
                    open_for,
                    retry_in,
                    last_failure,
                }
            }
            Refusal::TrialRunning => CallError::TrialRunning { target },
        }
    }

    /// A probe that was begun at `generation` passed.
    pub fn probe_passed(&self, generation: u64) {
        self.change(None, |breaker, now| breaker.probe_passed(generation, now));
    }

    /// A probe that was begun at `generation` failed.
    pub fn probe_failed(&self, generation: u64, why: &str) {
        self.change(Some(why), |breaker, now| breaker.probe_failed(generation, now));
    }

    fn settle(&self, admission: Admission, outcome: Outcome, why: Option<&str>) {
        let meters = &self.shared.meters;
        meters.ended(outcome, admission.started.elapsed().as_secs_f64());
        let settled = self.change(why, |breaker, now| breaker.settle(admission, outcome, now));
        if settled == Settled::Late {
            meters.late.increment(1);
        }
    }

    /// Lets `act` change the state machine, and tells the world if it did.
    fn change<T>(&self, why: Option<&str>, act: impl FnOnce(&mut Breaker, Instant) -> T) -> T {
        let now = Instant::now();
        let mut breaker = self.breaker();
        let (generation, from, open_until) = (breaker.generation(), breaker.state(), breaker.open_until());
        let result = act(&mut breaker, now);
        if breaker.generation() == generation && breaker.open_until() == open_until {
            return result;
        }
        // Published under the lock, so that watchers see the changes in their order.
        let to = breaker.state();
        self.shared.status.send_modify(|status| {
            let last_failure = match to {
                CircuitState::Open if from != CircuitState::Open => why.map(Arc::from),
                CircuitState::Open | CircuitState::HalfOpen => status.last_failure.take(),
                CircuitState::Closed => None,
            };
            *status = CircuitStatus::of(&breaker, last_failure);
        });
        if to != from {
            self.tell(from, to, breaker.open_until().map(|until| until - now), why);
        }
        result
    }

    fn tell(
        &self,
        from: CircuitState,
        to: CircuitState,
        open_for: Option<std::time::Duration>,
        why: Option<&str>,
    ) {
        let shared = &self.shared;
        let target = &*shared.name;
        shared.meters.state.set(match to {
            CircuitState::Closed => 0.0,
            CircuitState::HalfOpen => 1.0,
            CircuitState::Open => 2.0,
        });
        metrics::counter!(
            metric_names::CIRCUIT_TRANSITIONS,
            "target" => target.to_owned(),
            "from" => from.as_str(),
            "to" => to.as_str(),
        )
        .increment(1);
        match to {
            CircuitState::Open => tracing::warn!(
                target_name = target,
                from = from.as_str(),
                to = to.as_str(),
                open_for_ms = open_for.map(|time| time.as_millis() as u64),
                why,
                "circuit opened"
            ),
            CircuitState::HalfOpen => tracing::info!(
                target_name = target,
                from = from.as_str(),
                to = to.as_str(),
                "circuit lets one call through"
            ),
            CircuitState::Closed => tracing::info!(
                target_name = target,
                from = from.as_str(),
                to = to.as_str(),
                "circuit closed"
            ),
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // Nothing panics while the lock is held; and a state machine is whole between any two of its statements.
        self.shared.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circuit")
            .field("name", &self.shared.name)
            .field("status", &*self.shared.status.borrow())
            .finish()
    }
}

// === impl CircuitStatus ===

impl CircuitStatus {
    fn of(breaker: &Breaker, last_failure: Option<Arc<str>>) -> Self {
        Self {
            state: breaker.state(),
            generation: breaker.generation(),
            since: breaker.since(),
            open_until: breaker.open_until(),
            last_failure,
        }
    }
}

// === impl Permit ===

impl Permit {
    /// When the call was admitted.
    pub fn started(&self) -> Instant {
        self.admission.started
    }

    /// The circuit that gave it.
    pub fn circuit(&self) -> &Circuit {
        &self.circuit
    }

    /// Says how the call ended; `why` is kept for those who ask why the circuit opened.
    pub fn end(mut self, outcome: Outcome, why: Option<&str>) {
        self.ended = true;
        self.circuit.settle(self.admission, outcome, why);
    }

    pub(crate) fn judge(self, verdict: &Verdict) {
        self.end(verdict.outcome, Some(&verdict.why));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.ended {
            self.circuit.settle(self.admission, Outcome::Ignored, None);
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("circuit", &self.circuit.name())
            .field("admission", &self.admission)
            .finish()
    }
}

// === impl Meters ===

impl Meters {
    fn new(name: &Arc<str>) -> Self {
        let target = || name.to_string();
        let calls = |outcome: Outcome| metrics::counter!(metric_names::CALLS, "target" => target(), "outcome" => outcome.as_str());
        Self {
            state: metrics::gauge!(metric_names::CIRCUIT_STATE, "target" => target()),
            success: calls(Outcome::Success),
            failure: calls(Outcome::Failure),
            overload: calls(Outcome::Overload),
            ignored: calls(Outcome::Ignored),
            rejected: metrics::counter!(metric_names::CALLS_REJECTED, "target" => target()),
            late: metrics::counter!(metric_names::LATE_RESULTS, "target" => target()),
            seconds: metrics::histogram!(metric_names::CALL_SECONDS, "target" => target()),
        }
    }

    fn ended(&self, outcome: Outcome, seconds: f64) {
        match outcome {
            Outcome::Success => self.success.increment(1),
            Outcome::Failure => self.failure.increment(1),
            Outcome::Overload => self.overload.increment(1),
            Outcome::Ignored => self.ignored.increment(1),
        }
        self.seconds.record(seconds);
    }
}
