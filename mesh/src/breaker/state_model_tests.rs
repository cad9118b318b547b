//! The state machine against a model, over random histories and all policies.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;
use crate::breaker::{Rate, SlowCalls, Span};

#[path = "state_model.rs"]
mod model;

use model::Model;

const SECOND: Duration = Duration::from_secs(1);
const SLOW: Duration = Duration::from_millis(500);

fn policy(door: Door) -> Policy {
    Policy {
        consecutive_failures: 3,
        open_first: SECOND,
        open_longest: 8 * SECOND,
        open_jitter: 0.0,
        pushback_longest: 20 * SECOND,
        trial_longest: 30 * SECOND,
        door,
        ..Policy::default()
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Wait(u16),
    Admit,
    Settle(prop::sample::Index, Report),
    SettleNewest(Report),
    Probe(bool),
    Hard,
    ForceOpen,
    ForceClosed,
    Reset,
    /// Whether there is room under the cap from here on.
    Room(bool),
    /// The whole of an outage, so that long histories have many.
    Outage {
        failures: u8,
        trial: bool,
        millis: u16,
    },
}

fn report() -> impl Strategy<Value = Report> {
    let outcome = prop_oneof![
        5 => Just(Outcome::Failure),
        3 => Just(Outcome::Success),
        1 => Just(Outcome::Overload),
        1 => Just(Outcome::Ignored),
    ];
    let pushback = prop::option::weighted(0.03, (0_u64..30_000).prop_map(Duration::from_millis));
    (outcome, 0_u64..1_000, pushback).prop_map(|(outcome, millis, pushback)| Report {
        outcome,
        took: Some(Duration::from_millis(millis)),
        pushback,
    })
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => (0_u16..3_000).prop_map(Event::Wait),
        1 => (30_000_u16..60_000).prop_map(Event::Wait),
        40 => Just(Event::Admit),
        20 => (any::<prop::sample::Index>(), report()).prop_map(|(at, report)| Event::Settle(at, report)),
        20 => report().prop_map(Event::SettleNewest),
        12 => any::<bool>().prop_map(Event::Probe),
        2 => Just(Event::Hard),
        1 => Just(Event::ForceOpen),
        1 => Just(Event::ForceClosed),
        2 => Just(Event::Reset),
        2 => any::<bool>().prop_map(Event::Room),
    ]
}

fn cycle() -> impl Strategy<Value = Event> {
    let outage =
        (0_u8..6, any::<bool>(), 0_u16..20_000).prop_map(|(failures, trial, millis)| Event::Outage {
            failures,
            trial,
            millis,
        });
    prop_oneof![3 => outage, 1 => event()]
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let span = prop_oneof![(4_u32..30).prop_map(Span::Calls), Just(Span::Time(10 * SECOND)),];
    let rate = (1_u32..=20, 1_u32..5, span).prop_map(|(twentieths, minimum_calls, over)| Rate {
        threshold: f64::from(twentieths) / 20.0,
        minimum_calls,
        over,
    });
    let door = prop_oneof![Just(Door::Timer), Just(Door::Probe)];
    let row = prop_oneof![Just(0_u32), Just(3), Just(1)];
    let (failing, slow) = (prop::option::of(rate.clone()), prop::option::of(rate));
    (row, failing, slow, door).prop_map(|(consecutive_failures, failure_rate, slow, door)| Policy {
        consecutive_failures,
        failure_rate,
        slow_calls: slow.map(|rate| SlowCalls {
            slower_than: SLOW,
            rate,
        }),
        ..policy(door)
    })
}

/// A history under way: the state machine and the model, side by side.
struct Pair {
    breaker: Breaker,
    model: Model,
    now: Instant,
    under_way: Vec<(u32, Admission)>,
    next_call: u32,
    room: bool,
}

impl Pair {
    fn new(policy: Policy) -> Self {
        let now = Instant::now();
        Self {
            breaker: Breaker::new(policy.clone(), now),
            model: Model::new(policy, now),
            now,
            under_way: Vec::new(),
            next_call: 0,
            room: true,
        }
    }

    fn admit(&mut self) -> Result<(), TestCaseError> {
        let call = self.next_call;
        self.next_call += 1;
        let admitted = self.breaker.admit(self.now);
        prop_assert_eq!(admitted.is_ok(), self.model.admit(call, self.now));
        self.under_way
            .extend(admitted.ok().map(|admission| (call, admission)));
        Ok(())
    }

    fn settle(&mut self, at: usize, report: Report) -> Result<(), TestCaseError> {
        let (call, admission) = self.under_way.remove(at);
        let room = self.room;
        let settled = self.breaker.settle_within(admission, report, self.now, || room);
        let settled = match settled {
            Settled::Counted => "counted",
            Settled::Late => "late",
            Settled::Withheld(_) => "withheld",
        };
        prop_assert_eq!(settled, self.model.settle(call, report, self.now, room));
        Ok(())
    }

    fn probe(&mut self, passed: bool) {
        let generation = self.breaker.generation();
        if passed {
            self.breaker.probe_passed(generation, self.now);
        } else {
            self.breaker.probe_failed(generation, self.now);
        }
        self.model.probe(passed, self.now);
    }

    fn happens(&mut self, event: &Event) -> Result<(), TestCaseError> {
        let now = self.now;
        match event {
            Event::Wait(millis) => self.now += Duration::from_millis(u64::from(*millis)),
            Event::Admit => self.admit()?,
            Event::Settle(..) | Event::SettleNewest(_) if self.under_way.is_empty() => {}
            Event::Settle(at, report) => self.settle(at.index(self.under_way.len()), *report)?,
            Event::SettleNewest(report) => self.settle(self.under_way.len() - 1, *report)?,
            Event::Probe(passed) => self.probe(*passed),
            Event::Hard => {
                self.breaker.hard_failure(now);
                self.model.hard(now);
            }
            Event::ForceOpen => {
                self.breaker.force_open(now);
                self.model.force_open(now);
            }
            Event::ForceClosed => {
                self.breaker.force_closed(now);
                self.model.close(now);
                self.model.forced = Some(false);
            }
            Event::Reset => {
                self.breaker.reset(now);
                self.model.close(now);
                self.model.ended.clear();
                (self.model.breaks, self.model.last_break) = (0, Duration::ZERO);
                self.model.forced = None;
            }
            Event::Room(room) => self.room = *room,
            Event::Outage {
                failures,
                trial,
                millis,
            } => {
                for _ in 0..*failures {
                    self.call(Outcome::Failure)?;
                }
                self.now += Duration::from_millis(u64::from(*millis));
                self.probe(true);
                self.call(if *trial {
                    Outcome::Success
                } else {
                    Outcome::Failure
                })?;
            }
        }
        self.agree()
    }

    fn call(&mut self, outcome: Outcome) -> Result<(), TestCaseError> {
        let before = self.under_way.len();
        self.admit()?;
        if self.under_way.len() > before {
            let report = Report {
                took: Some(Duration::ZERO),
                ..outcome.into()
            };
            self.settle(before, report)?;
        }
        self.agree()
    }

    fn agree(&self) -> Result<(), TestCaseError> {
        let (breaker, model) = (&self.breaker, &self.model);
        prop_assert_eq!(breaker.state(), model.state());
        prop_assert_eq!(
            breaker.opened_by().map(OpenedBy::as_str),
            model.outage.as_ref().map(|outage| outage.by)
        );
        prop_assert_eq!(breaker.is_forced(), model.forced.is_some());
        match breaker.state() {
            CircuitState::Closed => prop_assert_eq!(breaker.failures(), model.row),
            CircuitState::Open if model.forced.is_none() => {
                prop_assert_eq!(
                    breaker.open_until(),
                    model.outage.as_ref().map(|outage| outage.ends)
                );
            }
            CircuitState::Open | CircuitState::HalfOpen => {}
        }
        Ok(())
    }
}

/// Runs a history, and says how often the circuit changed.
fn agrees_with_the_model(policy: Policy, events: &[Event]) -> Result<u64, TestCaseError> {
    let mut pair = Pair::new(policy);
    for event in events {
        pair.happens(event)?;
    }
    Ok(pair.breaker.generation())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_as_the_model_has_it(
        policy in any_policy(),
        events in prop::collection::vec(event(), 0..600),
    ) {
        agrees_with_the_model(policy, &events)?;
    }

    #[test]
    fn histories_of_hundreds_of_outages_are_as_the_model_has_them(
        policy in any_policy(),
        events in prop::collection::vec(cycle(), 200..400),
    ) {
        agrees_with_the_model(policy, &events)?;
    }

    #[test]
    fn whatever_happened_a_service_that_is_well_gets_its_circuit_closed(
        policy in any_policy(),
        events in prop::collection::vec(event(), 0..300),
    ) {
        let mut pair = Pair::new(policy);
        for event in &events {
            pair.happens(event)?;
        }
        let Pair { mut breaker, mut now, .. } = pair;
        if breaker.is_forced() {
            breaker.reset(now);
        }
        // Well from here on; calls that hang are never heard of again.
        now += 60 * SECOND;
        breaker.probe_passed(breaker.generation(), now);
        let admission = breaker.admit(now).expect("a call is let through");
        let was_open = breaker.state() != CircuitState::Closed;
        breaker.settle(admission, Report { took: Some(Duration::ZERO), ..Outcome::Success.into() }, now);
        // A closed circuit may still open by what its windows hold.
        prop_assert!(!was_open || breaker.state() == CircuitState::Closed);
    }
}

#[test]
fn histories_run_through_hundreds_of_cycles() {
    // That the histories above are what they claim to be.
    let failure = |_| [Event::Admit, Event::SettleNewest(Outcome::Failure.into())];
    let trial = |outcome: Outcome| {
        [
            Event::Probe(true),
            Event::Admit,
            Event::SettleNewest(outcome.into()),
        ]
    };
    let mut events = Vec::new();
    for _ in 0..300 {
        events.extend((0..3).flat_map(failure));
        events.push(Event::Wait(8_000));
        events.extend(trial(Outcome::Failure));
        events.push(Event::Wait(8_000));
        events.extend(trial(Outcome::Success));
    }
    for door in [Door::Timer, Door::Probe] {
        assert_eq!(agrees_with_the_model(policy(door), &events).unwrap(), 300 * 5);
    }
}
