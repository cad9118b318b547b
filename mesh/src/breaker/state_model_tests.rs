//! The state machine against a model, over random histories.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy(door: Door) -> Policy {
    Policy {
        consecutive_failures: 3,
        open_first: SECOND,
        open_longest: 8 * SECOND,
        open_jitter: 0.0,
        trial_longest: 30 * SECOND,
        door,
    }
}

/// A second opinion: the rules told as a story of outages, without generations and without an enum of states.
struct Model {
    door: Door,
    row: u32,
    outage: Option<Outage>,
    /// Calls under way whose result still decides: in a closed circuit all since it closed, else the trial alone.
    deciding: Vec<u32>,
}

struct Outage {
    breaks: u32,
    ends: Instant,
    /// The probe has been contradicted and not failed since.
    contradicted: bool,
    /// The door is open; with the end of the trial's time where there is one.
    door: Option<Option<Instant>>,
}

impl Outage {
    fn next_break(&mut self, now: Instant) {
        self.ends = now + (SECOND * 2_u32.pow(self.breaks.min(3)));
        self.breaks += 1;
        self.door = None;
    }
}

impl Model {
    fn admit(&mut self, call: u32, now: Instant) -> bool {
        let by_timer = self.door == Door::Timer;
        match &mut self.outage {
            None => {}
            Some(outage) => {
                let free = match outage.door {
                    None => by_timer && now >= outage.ends,
                    Some(None) => true,
                    Some(Some(until)) => now >= until,
                };
                if !free {
                    return false;
                }
                outage.door = Some(Some(now + 30 * SECOND));
                self.deciding.clear();
            }
        }
        self.deciding.push(call);
        true
    }

    fn settle(&mut self, call: u32, outcome: Outcome, now: Instant) {
        let Some(at) = self.deciding.iter().position(|&deciding| deciding == call) else {
            return;
        };
        self.deciding.remove(at);
        match (&mut self.outage, outcome) {
            (None, Outcome::Success) => self.row = 0,
            (None, Outcome::Failure) => {
                self.row += 1;
                if self.row == 3 {
                    let mut outage = Outage {
                        breaks: 0,
                        ends: now,
                        contradicted: false,
                        door: None,
                    };
                    outage.next_break(now);
                    self.outage = Some(outage);
                    self.deciding.clear();
                }
            }
            (Some(_), Outcome::Success) => (self.outage, self.row) = (None, 0),
            (Some(outage), Outcome::Failure) => {
                outage.next_break(now);
                outage.contradicted = true;
            }
            (Some(outage), Outcome::Overload | Outcome::Ignored) => outage.door = Some(None),
            (None, Outcome::Overload | Outcome::Ignored) => {}
        }
    }

    fn probe(&mut self, passed: bool, now: Instant) {
        let Some(outage) = &mut self.outage else {
            return;
        };
        match (passed, outage.door) {
            (true, None) if !outage.contradicted || now >= outage.ends => outage.door = Some(None),
            (false, None) => {
                outage.contradicted = false;
                if now >= outage.ends {
                    outage.next_break(now);
                }
            }
            (false, Some(None)) => {
                outage.contradicted = false;
                outage.next_break(now);
            }
            _ => {}
        }
    }

    fn state(&self) -> CircuitState {
        match &self.outage {
            None => CircuitState::Closed,
            Some(Outage { door: None, .. }) => CircuitState::Open,
            Some(Outage { door: Some(_), .. }) => CircuitState::HalfOpen,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Wait(u16),
    Admit,
    /// Ends a call under way, by its place among them.
    Settle(prop::sample::Index, Outcome),
    /// The newest call ends: histories without it rarely close a circuit.
    SettleNewest(Outcome),
    Probe(bool),
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        3 => Just(Outcome::Success),
        6 => Just(Outcome::Failure),
        1 => Just(Outcome::Overload),
        1 => Just(Outcome::Ignored),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0_u16..2_500).prop_map(Event::Wait),
        1 => Just(Event::Wait(35_000)),
        8 => Just(Event::Admit),
        3 => (any::<prop::sample::Index>(), outcome()).prop_map(|(at, outcome)| Event::Settle(at, outcome)),
        6 => outcome().prop_map(Event::SettleNewest),
        2 => any::<bool>().prop_map(Event::Probe),
    ]
}

fn agrees_with_the_model(door: Door, events: &[Event]) -> Result<u64, TestCaseError> {
    let mut now = Instant::now();
    let mut breaker = Breaker::new(policy(door), now);
    let mut model = Model {
        door,
        row: 0,
        outage: None,
        deciding: Vec::new(),
    };
    let mut under_way: Vec<(u32, Admission)> = Vec::new();
    let mut names = 0..;
    for event in events {
        match event {
            Event::Wait(millis) => now += Duration::from_millis(u64::from(*millis)),
            Event::Admit => {
                let name = names.next().unwrap();
                let promised = breaker.would_admit(now).is_ok();
                let admitted = breaker.admit(now);
                prop_assert_eq!(admitted.is_ok(), promised);
                prop_assert_eq!(admitted.is_ok(), model.admit(name, now));
                if let Ok(admission) = admitted {
                    under_way.push((name, admission));
                }
            }
            Event::Settle(..) | Event::SettleNewest(_) if under_way.is_empty() => {}
            Event::Settle(at, outcome) => {
                let (name, admission) = under_way.remove(at.index(under_way.len()));
                breaker.settle(admission, *outcome, now);
                model.settle(name, *outcome, now);
            }
            Event::SettleNewest(outcome) => {
                let (name, admission) = under_way.pop().unwrap();
                breaker.settle(admission, *outcome, now);
                model.settle(name, *outcome, now);
            }
            Event::Probe(true) => {
                breaker.probe_passed(breaker.generation(), now);
                model.probe(true, now);
            }
            Event::Probe(false) => {
                breaker.probe_failed(breaker.generation(), now);
                model.probe(false, now);
            }
        }
        prop_assert_eq!(breaker.state(), model.state());
        if breaker.state() == CircuitState::Open {
            prop_assert_eq!(
                breaker.open_until(),
                model.outage.as_ref().map(|outage| outage.ends)
            );
        }
    }
    Ok(breaker.generation())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_history_with_a_timer_is_as_the_model_has_it(events in prop::collection::vec(event(), 0..600)) {
        agrees_with_the_model(Door::Timer, &events)?;
    }

    #[test]
    fn any_history_with_a_probe_is_as_the_model_has_it(events in prop::collection::vec(event(), 0..600)) {
        agrees_with_the_model(Door::Probe, &events)?;
    }

    #[test]
    fn whatever_happened_a_service_that_is_well_gets_its_circuit_closed(
        events in prop::collection::vec(event(), 0..300),
        by_probe in any::<bool>(),
    ) {
        let door = if by_probe { Door::Probe } else { Door::Timer };
        let mut now = Instant::now();
        let mut breaker = Breaker::new(policy(door), now);
        let mut under_way = Vec::new();
        for event in &events {
            match event {
                Event::Wait(millis) => now += Duration::from_millis(u64::from(*millis)),
                Event::Admit => under_way.extend(breaker.admit(now)),
                Event::Settle(..) | Event::SettleNewest(_) if under_way.is_empty() => {}
                Event::Settle(at, outcome) => {
                    let admission = under_way.remove(at.index(under_way.len()));
                    breaker.settle(admission, *outcome, now);
                }
                Event::SettleNewest(outcome) => {
                    let admission = under_way.pop().unwrap();
                    breaker.settle(admission, *outcome, now);
                }
                Event::Probe(true) => { breaker.probe_passed(breaker.generation(), now); }
                Event::Probe(false) => { breaker.probe_failed(breaker.generation(), now); }
            }
        }
        // Well from here on; calls that hang are never heard of again.
        now += 60 * SECOND;
        breaker.probe_passed(breaker.generation(), now);
        let admission = breaker.admit(now).expect("a call is let through");
        breaker.settle(admission, Outcome::Success, now);
        prop_assert_eq!(breaker.state(), CircuitState::Closed);
    }
}

#[test]
fn histories_run_through_hundreds_of_cycles() {
    // What the random histories above rarely reach: the same cycle over and over.
    let mut events = Vec::new();
    for _ in 0..300 {
        events.extend([Event::Admit, Event::SettleNewest(Outcome::Failure)].repeat(3));
        events.push(Event::Wait(1_000));
        events.extend([
            Event::Probe(true),
            Event::Admit,
            Event::SettleNewest(Outcome::Failure),
        ]);
        events.push(Event::Wait(2_000));
        events.extend([
            Event::Probe(true),
            Event::Admit,
            Event::SettleNewest(Outcome::Success),
        ]);
    }
    for door in [Door::Timer, Door::Probe] {
        assert_eq!(agrees_with_the_model(door, &events).unwrap(), 300 * 5);
    }
}
