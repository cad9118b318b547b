//! The state machine of a circuit: a value without clock, lock or task. The time is handed in.

use std::time::Duration;

use tokio::time::Instant;

use super::rates::Rates;
use super::{Admission, CircuitState, Door, OpenedBy, Outcome, Policy, Refusal, Report, Settled};
use crate::backoff::Backoff;

/// The state machine of a circuit.
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: Policy,
    state: State,
    /// Changes with the state; what was admitted under another one decides nothing.
    generation: u64,
    /// When `state` was entered.
    since: Instant,
    /// When calls ceased to be let through freely; the start of the outage over all its breaks.
    outage_since: Instant,
    /// What opened the present outage; `None` while closed.
    opened_by: Option<OpenedBy>,
    breaks: Backoff,
    /// The length of the last break that was not the server's wish.
    last_break: Duration,
    rates: Rates,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        /// Failures since the last success.
        failures: u32,
        /// Nothing opens it but another order.
        forced: bool,
    },
    Open {
        until: Instant,
        shortcut: Shortcut,
    },
    HalfOpen {
        /// When the call that holds the slot loses it; `None` while the slot is free.
        trial_until: Option<Instant>,
    },
    ForcedOpen,
}

/// Whether a passing probe may cut a break short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortcut {
    Allowed,
    /// Not before a probe has failed: a real call has contradicted the last one that passed.
    Contradicted,
    /// The server has said how long.
    Never,
}

// === impl Breaker ===

impl Breaker {
    /// A closed circuit.
    pub fn new(policy: Policy, now: Instant) -> Self {
        let breaks = Backoff::new(policy.open_first, policy.open_longest, policy.open_jitter);
        let rates = Rates::new(&policy, now);
        Self {
            policy,
            state: State::CLOSED,
            generation: 0,
            since: now,
            outage_since: now,
            opened_by: None,
            breaks,
            last_break: Duration::ZERO,
            rates,
        }
    }

    /// Where the circuit stands. With [`Door::Timer`] a circuit whose break has ended is open until a call comes.
    pub fn state(&self) -> CircuitState {
        match self.state {
            State::Closed { .. } => CircuitState::Closed,
            State::Open { .. } | State::ForcedOpen => CircuitState::Open,
            State::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// Counts the changes of the circuit.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When the present state was entered.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// When the present break ends; `None` unless the circuit is open, and where it was forced open.
    pub fn open_until(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed { .. } | State::HalfOpen { .. } | State::ForcedOpen => None,
        }
    }

    /// What opened the circuit; `None` while it is closed.
    pub fn opened_by(&self) -> Option<OpenedBy> {
        self.opened_by
    }

    /// Whether it was forced open or closed, and stays so until it is reset.
    pub fn is_forced(&self) -> bool {
        matches!(self.state, State::ForcedOpen | State::Closed { forced: true, .. })
    }

    /// Failures in a row that a closed circuit has seen; 0 in the other states.
    pub fn failures(&self) -> u32 {
        match self.state {
            State::Closed { failures, .. } => failures,
            State::Open { .. } | State::HalfOpen { .. } | State::ForcedOpen => 0,
        }
    }

    /// Whether the circuit is closed and a further success would change nothing: no failure is counted, and no
    /// window wants to see every call.
    pub fn is_clear(&self) -> bool {
        matches!(self.state, State::Closed { failures: 0, .. }) && !self.rates.want_calls()
    }

    /// Whether [`admit`](Self::admit) would let a call through now; changes nothing.
    ///
    /// # Errors
    /// Why it would not.
    pub fn would_admit(&self, now: Instant) -> Result<(), Refusal> {
        let refused_for = |retry_in| Refusal::Open {
            open_for: now.saturating_duration_since(self.outage_since),
            retry_in,
        };
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until, .. } if self.policy.door == Door::Timer && now >= until => Ok(()),
            State::Open { until, .. } => Err(refused_for(until.saturating_duration_since(now))),
            State::ForcedOpen => Err(refused_for(self.policy.open_longest)),
            State::HalfOpen { trial_until } => match trial_until {
                Some(until) if now < until => Err(Refusal::TrialRunning),
                Some(_) | None => Ok(()),
            },
        }
    }

    /// Lets a call through, or not.
    ///
    /// # Errors
    /// Why it is not let through.
    pub fn admit(&mut self, now: Instant) -> Result<Admission, Refusal> {
        self.would_admit(now)?;
        let trial = State::HalfOpen {
            trial_until: Some(now + self.policy.trial_longest),
        };
        match self.state {
            State::Closed { .. } | State::ForcedOpen => {}
            // A new generation also where the slot of a call that lost it is given again: the first call may
            // still end, and must not decide.
            State::Open { .. } | State::HalfOpen { trial_until: Some(_) } => self.enter(trial, now),
            State::HalfOpen { trial_until: None } => self.state = trial,
        }
        Ok(Admission {
            generation: self.generation,
        })
    }

    /// Takes an admitted call's end into account, where nothing limits soft openings.
    pub fn settle(&mut self, admission: Admission, report: impl Into<Report>, now: Instant) -> Settled {
        self.settle_within(admission, report, now, || true)
    }

    /// Takes an admitted call's end into account. Before it opens by soft evidence it asks `may_open_softly`, and
    /// opens if and only if that says so.
    pub fn settle_within(
        &mut self,
        admission: Admission,
        report: impl Into<Report>,
        now: Instant,
        may_open_softly: impl FnOnce() -> bool,
    ) -> Settled {
        if admission.generation != self.generation {
            return Settled::Late;
        }
        let report = report.into();
        match self.state {
            State::Closed { failures, forced } => {
                let failures = match report.outcome {
                    Outcome::Success => 0,
                    Outcome::Failure => failures.saturating_add(1),
                    Outcome::Overload | Outcome::Ignored => failures,
                };
                self.state = State::Closed { failures, forced };
                let rate = self.rates.record(report, now);
                if !forced {
                    return self.judge(failures, report, rate, now, may_open_softly);
                }
            }
            State::HalfOpen { .. } => self.end_trial(report, now),
            State::Open { .. } | State::ForcedOpen => {
                debug_assert!(
                    false,
                    "an open circuit admits nobody, so nothing bears its generation"
                );
            }
        }
        Settled::Counted
    }

    /// Opens the closed circuit if this report was one too many. Of several reasons the one that opens without
    /// leave comes first.
    fn judge(
        &mut self,
        failures: u32,
        report: Report,
        rate: Option<OpenedBy>,
        now: Instant,
        may_open_softly: impl FnOnce() -> bool,
    ) -> Settled {
        let limit = self.policy.consecutive_failures;
        if report.wish().is_some() {
            self.begin_outage(now);
            self.open_as_wished(report, now);
        } else if report.outcome == Outcome::Failure && limit != 0 && failures >= limit {
            self.begin_outage(now);
            self.open(OpenedBy::Consecutive { failures }, Shortcut::Allowed, now);
        } else if let Some(evidence) = rate {
            if !may_open_softly() {
                // New evidence is needed to ask again, so a limit that is used up is not asked by every call.
                self.rates.clear();
                return Settled::Withheld(evidence);
            }
            self.begin_outage(now);
            self.open(evidence, Shortcut::Allowed, now);
        }
        Settled::Counted
    }

    fn end_trial(&mut self, report: Report, now: Instant) {
        match report.outcome {
            Outcome::Success => self.close(false, now),
            Outcome::Failure | Outcome::Overload if report.wish().is_some() => {
                self.open_as_wished(report, now);
            }
            // The probe said that the service is well, and it is not.
            Outcome::Failure => self.open_again(Shortcut::Contradicted, now),
            Outcome::Overload | Outcome::Ignored => self.state = State::HalfOpen { trial_until: None },
        }
    }

    /// Takes a passing probe into account that was begun at `generation`: the door of an open circuit opens for
    /// one call. Only that call closes the circuit.
    pub fn probe_passed(&mut self, generation: u64, now: Instant) -> Settled {
        if generation != self.generation {
            return Settled::Late;
        }
        if let State::Open { until, shortcut } = self.state
            && (shortcut == Shortcut::Allowed || now >= until)
        {
            self.enter(State::HalfOpen { trial_until: None }, now);
        }
        Settled::Counted
    }

    /// Takes a failed probe into account that was begun at `generation`: an open circuit whose break has ended
    /// begins the next one, and a half-open one that nobody is trying closes its door again.
    pub fn probe_failed(&mut self, generation: u64, now: Instant) -> Settled {
        if generation != self.generation {
            return Settled::Late;
        }
        match self.state {
            State::Open { until, shortcut } => {
                let (until, shortcut) = match shortcut {
                    _ if now >= until => (now + self.next_break(), Shortcut::Allowed),
                    Shortcut::Allowed | Shortcut::Contradicted => (until, Shortcut::Allowed),
                    Shortcut::Never => (until, Shortcut::Never),
                };
                self.state = State::Open { until, shortcut };
            }
            State::HalfOpen { trial_until: None } => self.open_again(Shortcut::Allowed, now),
            // The call that is under way decides.
            State::HalfOpen { trial_until: Some(_) } => {}
            State::Closed { .. } | State::ForcedOpen => {}
        }
        Settled::Counted
    }

    /// Takes into account that the service is certainly not there: a closed circuit opens at once; for others it
    /// is a failed probe.
    pub fn hard_failure(&mut self, now: Instant) {
        match self.state {
            State::Closed { forced: false, .. } => {
                self.begin_outage(now);
                self.open(OpenedBy::Hard, Shortcut::Allowed, now);
            }
            State::Open { .. } | State::HalfOpen { trial_until: None } => {
                self.opened_by = Some(OpenedBy::Hard);
                self.probe_failed(self.generation, now);
            }
            State::HalfOpen { trial_until: Some(_) } => {}
            State::Closed { forced: true, .. } | State::ForcedOpen => {}
        }
    }

    /// Opens the circuit until it is [`reset`](Self::reset) or forced closed.
    pub fn force_open(&mut self, now: Instant) {
        if self.state() == CircuitState::Closed {
            self.begin_outage(now);
        }
        self.opened_by = Some(OpenedBy::Forced);
        self.enter(State::ForcedOpen, now);
    }

    /// Closes the circuit; until it is [`reset`](Self::reset) or forced open nothing opens it. Calls still count.
    pub fn force_closed(&mut self, now: Instant) {
        self.close(true, now);
    }

    /// Closes the circuit as if it were new.
    pub fn reset(&mut self, now: Instant) {
        self.breaks.reset();
        self.last_break = Duration::ZERO;
        self.rates.clear();
        self.close(false, now);
    }

    /// Leaves the closed state. Breaks grow on from where they were, unless the circuit has proved itself: one
    /// lucky call between two outages must not make the second one's breaks short again.
    fn begin_outage(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= self.last_break {
            self.breaks.reset();
        }
        self.outage_since = now;
        self.rates.clear();
    }

    fn open(&mut self, evidence: OpenedBy, shortcut: Shortcut, now: Instant) {
        self.opened_by = Some(evidence);
        self.open_again(shortcut, now);
    }

    fn open_again(&mut self, shortcut: Shortcut, now: Instant) {
        let until = now + self.next_break();
        self.enter(State::Open { until, shortcut }, now);
    }

    fn open_as_wished(&mut self, report: Report, now: Instant) {
        let wish = report.wish().unwrap_or_default();
        let time = wish.min(self.policy.pushback_longest);
        self.opened_by = Some(OpenedBy::Pushback { time });
        let state = State::Open {
            until: now + time,
            shortcut: Shortcut::Never,
        };
        self.enter(state, now);
    }

    fn close(&mut self, forced: bool, now: Instant) {
        self.opened_by = None;
        self.enter(State::Closed { failures: 0, forced }, now);
    }

    fn next_break(&mut self) -> Duration {
        self.last_break = self.breaks.next_time();
        self.last_break
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.generation += 1;
        self.since = now;
    }
}

// === impl State ===

impl State {
    const CLOSED: Self = Self::Closed {
        failures: 0,
        forced: false,
    };
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "state_model_tests.rs"]
mod model_tests;
