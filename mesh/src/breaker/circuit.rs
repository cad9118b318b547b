//! A circuit: the state machine, shared, with its clock, log and metrics.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::driven::Driven;
use super::gate::Gate;
use super::meters::{Change, Meters, Names, tell};
use super::status::Standing;
use super::tally::{Recent, Tally};
use super::{
    Admission, Breaker, Cap, CircuitState, CircuitStatus, OpenedBy, Outcome, Permit, Policy, Refusal, Report,
    Settled, Transition,
};
use crate::error::CallError;

/// A circuit that many callers share. Clones are the same circuit.
///
/// While it is closed and no failure is counted, a call costs no lock, no allocation and no look at the clock.
/// A policy with rates takes a short lock and reads the clock at the end of each call; one for slow calls, or over
/// a time, reads it at the start as well.
#[derive(Clone)]
pub struct Circuit {
    shared: Arc<Shared>,
}

/// Away from the count of clones, which every call changes: what a call only reads stays in each processor's
/// cache. Two lines of 64 bytes, as processors fetch them in pairs.
#[repr(align(128))]
struct Shared {
    /// The lock is held for a few instructions, never across an await.
    gate: Gate<Driven>,
    needs_clock: bool,
    meters: Meters,
    /// Away from what calls only read.
    tally: Box<Tally>,
    names: Names,
    cap: Option<Cap>,
    status: watch::Sender<CircuitStatus>,
}

/// What a change of the circuit is told with.
#[derive(Clone, Copy)]
struct Reason<'a> {
    /// The failure, where there is one.
    why: Option<&'a str>,
    /// What let calls in again, should the change do so.
    healed_by: &'static str,
}

// === impl Circuit ===

impl Circuit {
    /// A closed circuit. Its name is the label `target` of metrics and log.
    pub fn new(name: impl Into<Arc<str>>, policy: Policy) -> Self {
        Self::make(name.into(), None, policy, None)
    }

    /// A closed circuit that asks a limit, which it shares with others, before it opens on soft evidence.
    pub fn with_cap(name: impl Into<Arc<str>>, policy: Policy, cap: Cap) -> Self {
        Self::make(name.into(), None, policy, Some(cap))
    }

    /// As [`with_cap`](Self::with_cap), for one of several endpoints of a target, which is the label `endpoint`:
    /// circuits of the same labels would overwrite each other's state.
    pub fn for_endpoint(
        target: impl Into<Arc<str>>,
        endpoint: impl Into<Arc<str>>,
        policy: Policy,
        cap: Cap,
    ) -> Self {
        Self::make(target.into(), Some(endpoint.into()), policy, Some(cap))
    }

    fn make(target: Arc<str>, endpoint: Option<Arc<str>>, policy: Policy, cap: Option<Cap>) -> Self {
        let needs_clock = policy.needs_clock();
        let now = Instant::now();
        let breaker = Breaker::new(policy, now);
        let names = Names { target, endpoint };
        let (status, _) = watch::channel(CircuitStatus::of(&breaker, None));
        Self {
            shared: Arc::new(Shared {
                gate: Gate::new(Driven::new(breaker)),
                needs_clock,
                meters: Meters::new(&names),
                tally: Box::new(Tally::new(now)),
                names,
                cap,
                status,
            }),
        }
    }

    /// The name it was made with: its target's, where it is an endpoint's.
    pub fn name(&self) -> &Arc<str> {
        &self.shared.names.target
    }

    /// Where it stands. Changes are seen as they happen; a caller that is slow sees the last one. Whoever holds what
    /// the receiver lends keeps the circuit from changing: let go of it before asking the circuit for anything.
    pub fn watch(&self) -> watch::Receiver<CircuitStatus> {
        self.shared.status.subscribe()
    }

    /// Where it stands now.
    pub fn status(&self) -> CircuitStatus {
        self.shared.status.borrow().clone()
    }

    /// Failures in a row that the closed circuit has seen.
    pub fn failures(&self) -> u32 {
        self.shared.gate.open().breaker.failures()
    }

    /// What the calls of the last seconds were like that were admitted with their time.
    pub(crate) fn recent(&self, now: Instant) -> Recent {
        self.shared.tally.recent(now)
    }

    /// Its last 16 changes and withheld openings, the oldest first.
    pub fn transitions(&self) -> Vec<Transition> {
        self.shared.gate.open().history.to_vec()
    }

    /// Asks for the right to make a call. The seconds of the call do not go into the metrics, and the clock is not
    /// read unless the policy needs it; [`admit_at`](Self::admit_at) does both.
    ///
    /// # Errors
    /// [`CallError::CircuitOpen`] and [`CallError::TrialRunning`].
    #[inline]
    pub fn admit(&self) -> Result<Permit, CallError> {
        let permit = self.enter()?;
        Ok(permit.into_owned())
    }

    /// Asks for the right to make a call that starts now, for a caller who has read the clock.
    ///
    /// # Errors
    /// [`CallError::CircuitOpen`] and [`CallError::TrialRunning`].
    #[inline]
    pub fn admit_at(&self, now: Instant) -> Result<Permit, CallError> {
        let permit = Permit::ask(self, Some(now))?;
        Ok(permit.into_owned())
    }

    /// As [`admit`](Self::admit), with a permit that borrows the circuit: threads that call at the same time do not
    /// even share a count of permits.
    ///
    /// ```
    /// use safelight_mesh::breaker::{Circuit, Outcome, Policy};
    ///
    /// let circuit = Circuit::new("ledger", Policy::default());
    /// let permit = circuit.enter()?;
    /// let written: std::io::Result<()> = Ok(());
    /// permit.end(if written.is_ok() { Outcome::Success } else { Outcome::Failure }, None);
    /// # Ok::<(), safelight_mesh::CallError>(())
    /// ```
    ///
    /// # Errors
    /// [`CallError::CircuitOpen`] and [`CallError::TrialRunning`].
    #[inline]
    pub fn enter(&self) -> Result<Permit<&Self>, CallError> {
        Permit::ask(self, None)
    }

    #[inline]
    pub(super) fn admission(
        &self,
        started: Option<Instant>,
    ) -> Result<(Admission, Option<Instant>), CallError> {
        let started = match started {
            None if self.shared.needs_clock => Some(Instant::now()),
            started => started,
        };
        match self.shared.gate.pass() {
            Some(generation) => Ok((Admission { generation }, started)),
            None => Ok((self.ask(started)?, started)),
        }
    }

    #[cold]
    fn ask(&self, started: Option<Instant>) -> Result<Admission, CallError> {
        let now = started.unwrap_or_else(Instant::now);
        let reason = Reason::healed_by("the break was over");
        self.change(reason, now, |driven| driven.breaker.admit(now))
            .map_err(|refusal| self.refused(refusal))
    }

    /// Whether a call would be let through now; takes no slot.
    pub(crate) fn would_admit(&self) -> Result<(), Refusal> {
        if self.shared.gate.pass().is_some() {
            return Ok(());
        }
        self.shared.gate.open().breaker.would_admit(Instant::now())
    }

    /// The error for a call that is refused; counts it.
    pub(crate) fn refused(&self, refusal: Refusal) -> CallError {
        self.shared.meters.rejected.increment(1);
        let target = self.shared.names.target.clone();
        match refusal {
            Refusal::Open { open_for, retry_in } => CallError::CircuitOpen {
                target,
                open_for,
                retry_in,
                last_failure: self.shared.status.borrow().evidence.clone(),
            },
            Refusal::TrialRunning => CallError::TrialRunning { target },
        }
    }

    /// A probe that was begun at `generation` passed.
    pub fn probe_passed(&self, generation: u64) {
        let now = Instant::now();
        self.change(Reason::healed_by("a probe passed"), now, |driven| {
            driven.breaker.probe_passed(generation, now)
        });
    }

    /// A probe that was begun at `generation` failed.
    pub fn probe_failed(&self, generation: u64, why: &str) {
        let now = Instant::now();
        self.change(Reason::failed(why), now, |driven| {
            driven.breaker.probe_failed(generation, now)
        });
    }

    /// The service is certainly not there: a connection was refused, or a health check says that it does not
    /// serve. A closed circuit opens at once, and no [`Cap`] is asked; for one that is open or half-open this is a
    /// failed probe.
    pub fn hard_failure(&self, why: &str) {
        let now = Instant::now();
        self.change(Reason::failed(why), now, |driven| {
            driven.breaker.hard_failure(now)
        });
    }

    /// Opens the circuit until somebody resets it or forces it closed. Neither time nor probes let a call in.
    pub fn force_open(&self, why: &str) {
        let now = Instant::now();
        self.change(Reason::failed(why), now, |driven| driven.breaker.force_open(now));
    }

    /// Closes the circuit until somebody resets it or forces it open. Everything is let through, and still counts
    /// in metrics and in [`failures`](Self::failures).
    pub fn force_closed(&self) {
        let now = Instant::now();
        self.change(Reason::healed_by("forced closed"), now, |driven| {
            driven.breaker.force_closed(now);
        });
    }

    /// Closes the circuit as if it were new: nothing is forced, no failure counted, breaks begin with the first
    /// length.
    pub fn reset(&self) {
        let now = Instant::now();
        self.change(Reason::healed_by("reset"), now, |driven| {
            driven.breaker.reset(now)
        });
    }

    #[inline]
    pub(super) fn settle(
        &self,
        admission: Admission,
        started: Option<Instant>,
        outcome: Outcome,
        pushback: Option<Duration>,
        why: Option<&str>,
    ) {
        let shared = &*self.shared;
        shared.meters.ended(outcome);
        let now = started.map(|_| Instant::now());
        let took = started.zip(now).map(|(started, now)| now - started);
        if let Some((now, took)) = now.zip(took) {
            shared.meters.took(took);
            shared.tally.record(now, took, outcome);
        }
        let changes_nothing = match outcome {
            Outcome::Success => shared.gate.is_clear_since(admission.generation),
            Outcome::Failure => false,
            Outcome::Overload => pushback.is_none() && shared.gate.is_free_since(admission.generation),
            Outcome::Ignored => shared.gate.is_free_since(admission.generation),
        };
        if changes_nothing {
            return;
        }
        let report = Report {
            outcome,
            took,
            pushback,
        };
        self.report(admission, report, now.unwrap_or_else(Instant::now), why);
    }

    #[inline(never)]
    fn report(&self, admission: Admission, report: Report, now: Instant, why: Option<&str>) {
        let shared = &*self.shared;
        let reason = Reason {
            why,
            healed_by: "a call succeeded",
        };
        let settled = self.change(reason, now, |driven| {
            let Driven { breaker, place, .. } = driven;
            let settled = breaker.settle_within(admission, report, now, || match &shared.cap {
                Some(cap) => {
                    *place = cap.reserve();
                    place.is_some()
                }
                None => true,
            });
            if let Settled::Withheld(evidence) = settled {
                driven.withhold(evidence, shared.cap.as_ref(), now);
            }
            settled
        });
        match settled {
            Settled::Counted => {}
            Settled::Late => shared.meters.late.increment(1),
            Settled::Withheld(evidence) => shared.meters.withheld(&shared.names, evidence),
        }
    }

    /// Lets `act` change the state machine, and tells the world if it did.
    fn change<T>(&self, reason: Reason<'_>, now: Instant, act: impl FnOnce(&mut Driven) -> T) -> T {
        let shared = &*self.shared;
        let mut driven = shared.gate.open();
        let before = Standing::of(&driven.breaker);
        let result = act(&mut driven);
        let after = Standing::of(&driven.breaker);
        if before == after {
            return result;
        }
        if !after.opened_by.is_some_and(OpenedBy::is_soft) {
            driven.place = None;
        }
        // Published under the lock, so that watchers see the changes in their order.
        shared.status.send_modify(|status| {
            let last_failure = match after.state {
                CircuitState::Open
                    if before.state != CircuitState::Open || before.opened_by != after.opened_by =>
                {
                    reason.why.map(Arc::from)
                }
                CircuitState::Open | CircuitState::HalfOpen => status.last_failure.take(),
                CircuitState::Closed => None,
            };
            *status = CircuitStatus::of(&driven.breaker, last_failure);
        });
        if (before.state, before.forced) == (after.state, after.forced) {
            return result;
        }
        let evidence = match (after.state, &shared.status.borrow().evidence) {
            (CircuitState::Open, Some(evidence)) => evidence.clone(),
            _ => Arc::from(reason.healed_by),
        };
        driven.history.push(Transition {
            at: now,
            from: before.state,
            to: after.state,
            evidence,
        });
        shared.meters.state(after.state);
        drop(driven);
        let change = Change {
            from: before.state,
            to: after.state,
            opened_by: after.opened_by,
            open_for: after.open_until.map(|until| until - now),
            why: reason.why,
        };
        tell(&shared.names, &change);
        result
    }
}

impl fmt::Debug for Circuit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Circuit")
            .field("name", self.name())
            .field("status", &*self.shared.status.borrow())
            .finish()
    }
}

// === impl Reason ===

impl<'a> Reason<'a> {
    fn failed(why: &'a str) -> Self {
        Self {
            why: Some(why),
            healed_by: "",
        }
    }

    fn healed_by(healed_by: &'static str) -> Self {
        Self { why: None, healed_by }
    }
}
