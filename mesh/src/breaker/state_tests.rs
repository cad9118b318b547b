//! The state machine, transition by transition.
#![allow(clippy::unwrap_used, clippy::expect_used)]

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
        ..Policy::default()
    }
}

fn open(door: Door, now: Instant) -> Breaker {
    let mut breaker = Breaker::new(policy(door), now);
    for _ in 0..3 {
        let admission = breaker.admit(now).unwrap();
        breaker.settle(admission, Outcome::Failure, now);
    }
    assert_eq!(breaker.state(), CircuitState::Open);
    breaker
}

/// One call, let in and ended at once.
fn call(breaker: &mut Breaker, outcome: Outcome, now: Instant) {
    let admission = breaker.admit(now).unwrap();
    assert_eq!(breaker.settle(admission, outcome, now), Settled::Counted);
}

#[test]
fn failures_in_a_row_open_the_circuit() {
    let now = Instant::now();
    let mut breaker = Breaker::new(policy(Door::Timer), now);
    call(&mut breaker, Outcome::Failure, now);
    call(&mut breaker, Outcome::Failure, now);
    assert_eq!(breaker.failures(), 2);
    assert_eq!(breaker.state(), CircuitState::Closed);
    call(&mut breaker, Outcome::Failure, now);
    assert_eq!(breaker.state(), CircuitState::Open);
    assert_eq!(breaker.open_until(), Some(now + SECOND));
}

#[test]
fn a_success_between_failures_begins_the_count_again() {
    let now = Instant::now();
    let mut breaker = Breaker::new(policy(Door::Timer), now);
    for _ in 0..100 {
        call(&mut breaker, Outcome::Failure, now);
        call(&mut breaker, Outcome::Failure, now);
        call(&mut breaker, Outcome::Success, now);
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn overload_and_ignored_neither_count_nor_clear_the_count() {
    let now = Instant::now();
    let mut breaker = Breaker::new(policy(Door::Timer), now);
    call(&mut breaker, Outcome::Failure, now);
    call(&mut breaker, Outcome::Failure, now);
    for _ in 0..100 {
        call(&mut breaker, Outcome::Overload, now);
        call(&mut breaker, Outcome::Ignored, now);
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
    call(&mut breaker, Outcome::Failure, now);
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[test]
fn an_open_circuit_says_for_how_long_it_has_been_open_and_when_to_come_back() {
    let start = Instant::now();
    let breaker = open(Door::Timer, start);
    let refusal = breaker
        .would_admit(start + Duration::from_millis(300))
        .unwrap_err();
    let (open_for, retry_in) = (Duration::from_millis(300), Duration::from_millis(700));
    assert_eq!(refusal, Refusal::Open { open_for, retry_in });
}

#[test]
fn the_time_open_counts_from_the_start_of_the_outage_over_all_its_breaks() {
    let start = Instant::now();
    let mut breaker = open(Door::Timer, start);
    let later = start + SECOND;
    call(&mut breaker, Outcome::Failure, later);
    let refusal = breaker.would_admit(later + SECOND).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::Open {
            open_for: 2 * SECOND,
            retry_in: SECOND
        }
    );
}

#[test]
fn after_the_break_one_call_is_let_through_and_the_second_is_not() {
    let start = Instant::now();
    let mut breaker = open(Door::Timer, start);
    let now = start + SECOND;
    breaker.admit(now).unwrap();
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    assert_eq!(breaker.admit(now), Err(Refusal::TrialRunning));
}

#[test]
fn the_trial_closes_the_circuit_by_its_success() {
    let start = Instant::now();
    let mut breaker = open(Door::Timer, start);
    call(&mut breaker, Outcome::Success, start + SECOND);
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(breaker.failures(), 0);
}

#[test]
fn breaks_double_to_the_longest_while_trials_fail() {
    let mut now = Instant::now();
    let mut breaker = open(Door::Timer, now);
    for seconds in [1, 2, 4, 8, 8, 8] {
        let until = breaker.open_until().unwrap();
        assert_eq!(until - now, seconds * SECOND);
        assert!(breaker.admit(until - Duration::from_nanos(1)).is_err());
        now = until;
        call(&mut breaker, Outcome::Failure, now);
    }
}

/// Opens a closed circuit, and says how long the break is.
fn trip(breaker: &mut Breaker, now: Instant) -> Duration {
    for _ in 0..3 {
        call(breaker, Outcome::Failure, now);
    }
    breaker.open_until().unwrap() - now
}

#[test]
fn a_lucky_call_does_not_make_breaks_short_again() {
    let mut now = Instant::now();
    let mut breaker = Breaker::new(policy(Door::Timer), now);
    for seconds in [1, 2, 4, 8, 8] {
        assert_eq!(trip(&mut breaker, now), seconds * SECOND);
        now = breaker.open_until().unwrap();
        call(&mut breaker, Outcome::Success, now);
        assert_eq!(breaker.state(), CircuitState::Closed);
        now += seconds * SECOND - Duration::from_nanos(1);
    }
}

#[test]
fn breaks_begin_anew_once_the_circuit_has_stayed_closed_for_as_long_as_the_last_one() {
    let mut now = Instant::now();
    let mut breaker = open(Door::Timer, now);
    now += SECOND;
    call(&mut breaker, Outcome::Failure, now);
    now += 2 * SECOND;
    call(&mut breaker, Outcome::Success, now);
    assert_eq!(trip(&mut breaker, now + 2 * SECOND), SECOND);
}

#[test]
fn a_trial_that_says_nothing_gives_its_slot_back() {
    for outcome in [Outcome::Ignored, Outcome::Overload] {
        let start = Instant::now();
        let mut breaker = open(Door::Timer, start);
        let now = start + SECOND;
        for _ in 0..10 {
            call(&mut breaker, outcome, now);
            assert_eq!(breaker.state(), CircuitState::HalfOpen);
        }
        call(&mut breaker, Outcome::Success, now);
        assert_eq!(breaker.state(), CircuitState::Closed);
    }
}

#[test]
fn a_trial_that_never_ends_loses_its_slot_and_its_say() {
    let start = Instant::now();
    let mut breaker = open(Door::Timer, start);
    let stuck = breaker.admit(start + SECOND).unwrap();
    let later = start + 31 * SECOND;
    assert!(breaker.admit(later - Duration::from_nanos(1)).is_err());
    let second = breaker.admit(later).unwrap();
    assert_eq!(breaker.settle(stuck, Outcome::Failure, later), Settled::Late);
    assert_eq!(breaker.admit(later), Err(Refusal::TrialRunning));
    breaker.settle(second, Outcome::Success, later);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn a_late_success_from_before_the_break_does_not_close_the_circuit() {
    let start = Instant::now();
    let mut breaker = Breaker::new(policy(Door::Timer), start);
    let slow = breaker.admit(start).unwrap();
    for _ in 0..3 {
        call(&mut breaker, Outcome::Failure, start);
    }
    assert_eq!(breaker.settle(slow, Outcome::Success, start), Settled::Late);
    assert_eq!(breaker.state(), CircuitState::Open);
    let trial = breaker.admit(start + SECOND).unwrap();
    assert_eq!(
        breaker.settle(slow, Outcome::Success, start + SECOND),
        Settled::Late
    );
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    breaker.settle(trial, Outcome::Failure, start + SECOND);
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[test]
fn late_failures_from_before_the_break_do_not_open_a_circuit_that_has_closed() {
    let start = Instant::now();
    let mut breaker = Breaker::new(policy(Door::Timer), start);
    let slow: Vec<Admission> = (0..5).map(|_| breaker.admit(start).unwrap()).collect();
    for _ in 0..3 {
        call(&mut breaker, Outcome::Failure, start);
    }
    call(&mut breaker, Outcome::Success, start + SECOND);
    for admission in slow {
        assert_eq!(
            breaker.settle(admission, Outcome::Failure, start + SECOND),
            Settled::Late
        );
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
    assert_eq!(breaker.failures(), 0);
}

#[test]
fn a_circuit_with_a_probe_waits_for_it_past_the_end_of_the_break() {
    let start = Instant::now();
    let breaker = open(Door::Probe, start);
    assert!(breaker.would_admit(start + 3600 * SECOND).is_err());
}

#[test]
fn a_passing_probe_cuts_the_break_short_and_a_call_closes_the_circuit() {
    let now = Instant::now();
    let mut breaker = open(Door::Probe, now);
    breaker.probe_passed(breaker.generation(), now);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    breaker.probe_passed(breaker.generation(), now);
    assert_eq!(breaker.state(), CircuitState::HalfOpen, "a probe closes nothing");
    call(&mut breaker, Outcome::Success, now);
    assert_eq!(breaker.state(), CircuitState::Closed);
}

#[test]
fn a_probe_that_a_call_has_contradicted_waits_for_the_end_of_the_break() {
    let start = Instant::now();
    let mut breaker = open(Door::Probe, start);
    breaker.probe_passed(breaker.generation(), start);
    call(&mut breaker, Outcome::Failure, start);
    breaker.probe_passed(breaker.generation(), start);
    assert_eq!(breaker.state(), CircuitState::Open);
    breaker.probe_passed(breaker.generation(), start + 2 * SECOND);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
}

#[test]
fn a_probe_that_has_failed_since_is_believed_again() {
    let now = Instant::now();
    let mut breaker = open(Door::Probe, now);
    breaker.probe_passed(breaker.generation(), now);
    call(&mut breaker, Outcome::Failure, now);
    breaker.probe_failed(breaker.generation(), now);
    breaker.probe_passed(breaker.generation(), now);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
}

#[test]
fn breaks_follow_one_another_doubling_while_the_probe_fails() {
    let mut now = Instant::now();
    let mut breaker = open(Door::Probe, now);
    for seconds in [1, 2, 4, 8, 8] {
        let until = breaker.open_until().unwrap();
        assert_eq!(until - now, seconds * SECOND);
        breaker.probe_failed(breaker.generation(), until - Duration::from_nanos(1));
        assert_eq!(
            breaker.open_until(),
            Some(until),
            "a break is not cut or stretched in its middle"
        );
        now = until;
        breaker.probe_failed(breaker.generation(), now);
    }
}

#[test]
fn a_failing_probe_closes_the_door_that_one_had_opened_unless_a_call_is_under_way() {
    let now = Instant::now();
    let mut breaker = open(Door::Probe, now);
    breaker.probe_passed(breaker.generation(), now);
    let trial = breaker.admit(now).unwrap();
    breaker.probe_failed(breaker.generation(), now);
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    breaker.settle(trial, Outcome::Ignored, now);
    breaker.probe_failed(breaker.generation(), now);
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[test]
fn a_probe_that_was_begun_before_the_circuit_changed_decides_nothing() {
    let now = Instant::now();
    let mut breaker = open(Door::Probe, now);
    let before = breaker.generation();
    breaker.probe_passed(before, now);
    call(&mut breaker, Outcome::Failure, now);
    let later = now + 3600 * SECOND;
    assert_eq!(breaker.probe_passed(before, later), Settled::Late);
    assert_eq!(breaker.state(), CircuitState::Open);
}

#[test]
fn probes_of_a_closed_circuit_change_nothing() {
    let now = Instant::now();
    let mut breaker = Breaker::new(policy(Door::Probe), now);
    for _ in 0..10 {
        breaker.probe_failed(breaker.generation(), now);
        breaker.probe_passed(breaker.generation(), now);
    }
    assert_eq!((breaker.state(), breaker.generation()), (CircuitState::Closed, 0));
}
