//! The state machine of a circuit: a value without clock, lock or task. The time is handed in.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// When a circuit opens, for how long, and what opens its door again.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Failures in a row that open the circuit, at least 1; 5.
    pub consecutive_failures: u32,
    /// The length of the first break, 1 s; each further one without a success between them is twice as long.
    pub open_first: Duration,
    /// The length that no break exceeds, 60 s.
    pub open_longest: Duration,
    /// The part by which a break may be shorter or longer, 0 to 1; 0.2.
    pub open_jitter: f64,
    /// How long the one call of a half-open circuit holds its slot, 30 s. After that the slot goes to another
    /// call, and the first one's result no longer decides.
    pub trial_longest: Duration,
    /// What lets a call in again.
    pub door: Door,
}

/// What lets a call into an open circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The end of the break: the next call after it is let in.
    Timer,
    /// A passing probe, and nothing else: somebody has to ask, and to tell [`Breaker::probe_passed`]. It cuts the
    /// break short; while probes fail, breaks follow one another.
    ///
    /// A probe that passed before a real call failed all the same is believed again only when it has failed in
    /// between, or when the break is over. So a health check that lies costs one call a break, not one a probe.
    Probe,
}

/// Where a circuit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Calls pass.
    Closed,
    /// One call at a time passes, and its result decides.
    HalfOpen,
    /// No call passes.
    Open,
}

/// How an admitted call ended, as far as it says something about the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service did its work, or said rightly that the request was at fault.
    Success,
    /// The service, or the way to it, is broken.
    Failure,
    /// The service is alive and has no room. Neither closes a circuit nor opens one.
    Overload,
    /// Nothing was learned: the caller went away, or it never was sent for a reason of our own.
    Ignored,
}

/// A call's admission, given back to [`Breaker::settle`] once, when the call has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The generation of the circuit that admitted the call.
    pub generation: u64,
    /// When the call was admitted.
    pub started: Instant,
}

/// Why a call was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The circuit is open.
    Open {
        /// For how long calls have not been let through; earlier breaks of the same outage count.
        open_for: Duration,
        /// When this break ends; zero where only a probe is awaited.
        retry_in: Duration,
    },
    /// The circuit is half-open and its one call is under way.
    TrialRunning,
}

/// What a result did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was taken into account.
    Counted,
    /// The circuit has changed since the call was admitted; the result decides nothing.
    Late,
}

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
    breaks: Backoff,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        /// Failures since the last success.
        failures: u32,
    },
    Open {
        until: Instant,
        /// Whether a passing probe may cut this break short.
        probe_is_believed: bool,
    },
    HalfOpen {
        /// When the call that holds the slot loses it; `None` while the slot is free.
        trial_until: Option<Instant>,
    },
}

// === impl Policy ===

impl Default for Policy {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            open_first: Duration::from_secs(1),
            open_longest: Duration::from_secs(60),
            open_jitter: 0.2,
            trial_longest: Duration::from_secs(30),
            door: Door::Timer,
        }
    }
}

// === impl CircuitState ===

impl CircuitState {
    /// `closed`, `half_open` or `open`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// `success`, `failure`, `overload` or `ignored`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Overload => "overload",
            Self::Ignored => "ignored",
        }
    }
}

// === impl Breaker ===

impl Breaker {
    /// A closed circuit.
    pub fn new(policy: Policy, now: Instant) -> Self {
        let breaks = Backoff::new(policy.open_first, policy.open_longest, policy.open_jitter);
        Self {
            policy,
            state: State::Closed { failures: 0 },
            generation: 0,
            since: now,
            outage_since: now,
            breaks,
        }
    }

    /// Where the circuit stands. With [`Door::Timer`] a circuit whose break has ended is open until a call comes.
    pub fn state(&self) -> CircuitState {
        match self.state {
            State::Closed { .. } => CircuitState::Closed,
            State::Open { .. } => CircuitState::Open,
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

    /// When the present break ends; `None` unless the circuit is open.
    pub fn open_until(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// Failures in a row that a closed circuit has seen; 0 in the other states.
    pub fn failures(&self) -> u32 {
        match self.state {
            State::Closed { failures } => failures,
            State::Open { .. } | State::HalfOpen { .. } => 0,
        }
    }

    /// Whether [`admit`](Self::admit) would let a call through now; changes nothing.
    ///
    /// # Errors
    /// Why it would not.
    pub fn would_admit(&self, now: Instant) -> Result<(), Refusal> {
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until, .. } => {
                if self.policy.door == Door::Timer && now >= until {
                    return Ok(());
                }
                Err(Refusal::Open {
                    open_for: now.saturating_duration_since(self.outage_since),
                    retry_in: until.saturating_duration_since(now),
                })
            }
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
        match self.state {
            State::Closed { .. } => {}
            // A new generation also where the slot of a call that lost it is given again: the first call may
            // still end, and must not decide.
            State::Open { .. } | State::HalfOpen { trial_until: Some(_) } => {
                self.enter(
                    State::HalfOpen {
                        trial_until: self.trial_until(now),
                    },
                    now,
                );
            }
            State::HalfOpen { trial_until: None } => {
                self.state = State::HalfOpen {
                    trial_until: self.trial_until(now),
                };
            }
        }
        Ok(Admission {
            generation: self.generation,
            started: now,
        })
    }

    /// Takes an admitted call's outcome into account.
    pub fn settle(&mut self, admission: Admission, outcome: Outcome, now: Instant) -> Settled {
        if admission.generation != self.generation {
            return Settled::Late;
        }
        match (self.state, outcome) {
            (State::Closed { .. }, Outcome::Success) => self.state = State::Closed { failures: 0 },
            (State::Closed { failures }, Outcome::Failure) => {
                let failures = failures.saturating_add(1);
                if failures < self.policy.consecutive_failures {
                    self.state = State::Closed { failures };
                } else {
                    self.outage_since = now;
                    self.open(true, now);
                }
            }
            (State::Closed { .. }, Outcome::Overload | Outcome::Ignored) => {}
            (State::HalfOpen { .. }, Outcome::Success) => {
                self.breaks.reset();
                self.enter(State::Closed { failures: 0 }, now);
            }
            // The probe said that the service is well, and it is not.
            (State::HalfOpen { .. }, Outcome::Failure) => self.open(false, now),
            (State::HalfOpen { .. }, Outcome::Overload | Outcome::Ignored) => {
                self.state = State::HalfOpen { trial_until: None };
            }
            (State::Open { .. }, _) => {
                debug_assert!(
                    false,
                    "an open circuit admits nobody, so nothing bears its generation"
                );
            }
        }
        Settled::Counted
    }

    /// Takes a passing probe into account that was begun at `generation`: the door of an open circuit opens for
    /// one call. Only that call closes the circuit.
    pub fn probe_passed(&mut self, generation: u64, now: Instant) -> Settled {
        if generation != self.generation {
            return Settled::Late;
        }
        if let State::Open {
            until,
            probe_is_believed,
        } = self.state
            && (probe_is_believed || now >= until)
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
            State::Open { until, .. } => {
                let until = if now < until {
                    until
                } else {
                    now + self.breaks.next_time()
                };
                self.state = State::Open {
                    until,
                    probe_is_believed: true,
                };
            }
            State::HalfOpen { trial_until: None } => self.open(true, now),
            // The call that is under way decides.
            State::HalfOpen { trial_until: Some(_) } => {}
            State::Closed { .. } => {}
        }
        Settled::Counted
    }

    fn open(&mut self, probe_is_believed: bool, now: Instant) {
        let until = now + self.breaks.next_time();
        self.enter(
            State::Open {
                until,
                probe_is_believed,
            },
            now,
        );
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.generation += 1;
        self.since = now;
    }

    fn trial_until(&self, now: Instant) -> Option<Instant> {
        Some(now + self.policy.trial_longest)
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "state_model_tests.rs"]
mod model_tests;
