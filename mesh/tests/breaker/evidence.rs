//! What opens a circuit, and what it then says.

use metrics_exporter_prometheus::PrometheusBuilder;
use safelight_mesh::CallError;
use safelight_mesh::breaker::{
    Circuit, CircuitState, Door, OpenedBy, Outcome, Policy, Rate, SlowCalls, Span,
};
use tokio::time::{Duration, Instant, advance};

const SECOND: Duration = Duration::from_secs(1);

fn rate(threshold: f64, minimum_calls: u32, over: Span) -> Rate {
    Rate {
        threshold,
        minimum_calls,
        over,
    }
}

fn policy() -> Policy {
    Policy {
        open_jitter: 0.0,
        ..Policy::default()
    }
}

fn call(circuit: &Circuit, outcome: Outcome) {
    circuit.admit().unwrap().end(outcome, Some("Internal: oops"));
}

fn refusal(circuit: &Circuit) -> String {
    circuit.admit().unwrap_err().to_string()
}

#[tokio::test(start_paused = true)]
async fn by_default_five_failures_in_a_row_open_the_circuit_and_nothing_else() {
    let circuit = Circuit::new("test", policy());
    for _ in 0..1_000 {
        for outcome in [Outcome::Failure; 4] {
            call(&circuit, outcome);
        }
        call(&circuit, Outcome::Success);
    }
    assert_eq!(circuit.status().state, CircuitState::Closed);
    for _ in 0..5 {
        call(&circuit, Outcome::Failure);
    }
    assert_eq!(
        refusal(&circuit),
        "circuit open for 0.0 s after: 5 failures in a row, the last: Internal: oops"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rate_over_calls_opens_at_its_threshold_and_says_its_numbers() {
    let circuit = Circuit::new(
        "test",
        Policy {
            consecutive_failures: 0,
            failure_rate: Some(rate(0.6, 10, Span::Calls(20))),
            ..policy()
        },
    );
    for _ in 0..500 {
        call(&circuit, Outcome::Success);
    }
    for _ in 0..11 {
        call(&circuit, Outcome::Failure);
    }
    assert_eq!(circuit.status().state, CircuitState::Closed);
    call(&circuit, Outcome::Failure);
    let status = circuit.status();
    let over = Span::Calls(20);
    assert_eq!(
        status.opened_by,
        Some(OpenedBy::FailureRate {
            failed: 12,
            calls: 20,
            over
        })
    );
    assert!(refusal(&circuit).ends_with("soft evidence: 12 of 20 calls failed, the last: Internal: oops"));
}

#[tokio::test(start_paused = true)]
async fn a_rate_over_time_forgets_what_has_passed() {
    let circuit = Circuit::new(
        "test",
        Policy {
            consecutive_failures: 0,
            failure_rate: Some(rate(0.5, 4, Span::Time(10 * SECOND))),
            ..policy()
        },
    );
    for _ in 0..20 {
        call(&circuit, Outcome::Failure);
        call(&circuit, Outcome::Success);
        call(&circuit, Outcome::Success);
        advance(11 * SECOND).await;
    }
    assert_eq!(circuit.status().state, CircuitState::Closed);
    for _ in 0..4 {
        advance(2 * SECOND).await;
        call(&circuit, Outcome::Failure);
    }
    assert_eq!(circuit.status().state, CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn slow_calls_open_a_circuit_though_all_of_them_succeed() {
    let slow_calls = SlowCalls {
        slower_than: Duration::from_millis(200),
        rate: rate(0.5, 4, Span::Calls(10)),
    };
    let circuit = Circuit::new(
        "test",
        Policy {
            slow_calls: Some(slow_calls),
            ..policy()
        },
    );
    for millis in [200, 10, 201] {
        let permit = circuit.admit().unwrap();
        advance(Duration::from_millis(millis)).await;
        permit.end(Outcome::Success, None);
    }
    assert_eq!(circuit.status().state, CircuitState::Closed);
    let permit = circuit.admit().unwrap();
    advance(SECOND).await;
    permit.end(Outcome::Success, None);
    assert!(
        refusal(&circuit).ends_with("soft evidence: 2 of 4 calls took more than 200ms"),
        "{}",
        refusal(&circuit)
    );
}

#[tokio::test(start_paused = true)]
async fn a_window_begins_anew_after_an_outage() {
    let circuit = Circuit::new(
        "test",
        Policy {
            consecutive_failures: 0,
            failure_rate: Some(rate(0.5, 4, Span::Calls(100))),
            ..policy()
        },
    );
    for _ in 0..4 {
        call(&circuit, Outcome::Failure);
    }
    advance(SECOND).await;
    call(&circuit, Outcome::Success);
    for _ in 0..3 {
        call(&circuit, Outcome::Failure);
    }
    assert_eq!(circuit.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_pushback_opens_for_exactly_its_time_by_one_overload() {
    let circuit = Circuit::new(
        "test",
        Policy {
            open_jitter: 1.0,
            ..policy()
        },
    );
    for millis in [1, 700, 3_000, 100_000] {
        let time = Duration::from_millis(millis);
        let permit = circuit.admit().unwrap();
        permit.end_with_pushback(Outcome::Overload, time, Some("ResourceExhausted: full"));
        let status = circuit.status();
        assert_eq!(status.open_until, Some(Instant::now() + time));
        assert_eq!(status.opened_by, Some(OpenedBy::Pushback { time }));
        assert!(refusal(&circuit).ends_with("left alone for 1ms: ResourceExhausted: full") || millis > 1);
        advance(time - Duration::from_millis(1)).await;
        assert!(circuit.admit().is_err() || millis == 1);
        advance(Duration::from_millis(1)).await;
        call(&circuit, Outcome::Success);
        assert_eq!(circuit.status().state, CircuitState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pushback_without_end_is_cut_at_the_policys_longest() {
    let circuit = Circuit::new("test", policy());
    let permit = circuit.admit().unwrap();
    permit.end_with_pushback(Outcome::Failure, Duration::MAX, None);
    assert_eq!(circuit.status().open_until, Some(Instant::now() + 600 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_pushback_of_zero_or_with_a_success_opens_nothing() {
    let circuit = Circuit::new("test", policy());
    for (outcome, time) in [
        (Outcome::Overload, Duration::ZERO),
        (Outcome::Success, SECOND),
        (Outcome::Ignored, SECOND),
    ] {
        circuit.admit().unwrap().end_with_pushback(outcome, time, None);
        assert_eq!(circuit.status().state, CircuitState::Closed, "{outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_does_not_cut_a_pushback_short() {
    let circuit = Circuit::new(
        "test",
        Policy {
            door: Door::Probe,
            ..policy()
        },
    );
    let permit = circuit.admit().unwrap();
    permit.end_with_pushback(Outcome::Overload, 5 * SECOND, None);
    let generation = circuit.status().generation;
    circuit.probe_failed(generation, "not serving");
    circuit.probe_passed(generation);
    assert_eq!(circuit.status().state, CircuitState::Open);
    advance(5 * SECOND).await;
    circuit.probe_passed(generation);
    assert_eq!(circuit.status().state, CircuitState::HalfOpen);
}

#[tokio::test(start_paused = true)]
async fn hard_evidence_opens_at_once_and_says_so() {
    let circuit = Circuit::new("test", policy());
    let under_way = circuit.admit().unwrap();
    circuit.hard_failure("connection refused");
    assert_eq!(circuit.status().opened_by, Some(OpenedBy::Hard));
    assert_eq!(
        refusal(&circuit),
        "circuit open for 0.0 s after: hard evidence: connection refused"
    );
    under_way.end(Outcome::Success, None);
    assert_eq!(
        circuit.status().state,
        CircuitState::Open,
        "the call began before"
    );
}

#[tokio::test(start_paused = true)]
async fn hard_evidence_keeps_an_open_circuit_open_break_after_break() {
    let circuit = Circuit::new(
        "test",
        Policy {
            door: Door::Probe,
            ..policy()
        },
    );
    circuit.hard_failure("connection refused");
    for seconds in [1, 2, 4, 8] {
        let until = circuit.status().open_until.unwrap();
        assert_eq!(until - Instant::now(), seconds * SECOND);
        circuit.hard_failure("connection refused");
        assert_eq!(circuit.status().open_until, Some(until), "not in its middle");
        advance(seconds * SECOND).await;
        circuit.hard_failure("connection refused");
    }
}

#[tokio::test(start_paused = true)]
async fn hard_evidence_leaves_the_verdict_to_the_call_under_way() {
    let circuit = Circuit::new("test", policy());
    circuit.hard_failure("connection refused");
    advance(SECOND).await;
    let trial = circuit.admit().unwrap();
    circuit.hard_failure("connection refused");
    assert_eq!(circuit.status().state, CircuitState::HalfOpen);
    trial.end(Outcome::Success, None);
    assert_eq!(circuit.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_failed_trial_keeps_what_opened_the_circuit_and_tells_the_newest_failure() {
    let circuit = Circuit::new(
        "test",
        Policy {
            consecutive_failures: 2,
            ..policy()
        },
    );
    call(&circuit, Outcome::Failure);
    call(&circuit, Outcome::Failure);
    advance(SECOND).await;
    let trial = circuit.admit().unwrap();
    trial.end(Outcome::Failure, Some("Unavailable: still loading"));
    let Err(CallError::CircuitOpen { last_failure, .. }) = circuit.admit() else {
        panic!("expected it open");
    };
    assert_eq!(
        last_failure.as_deref(),
        Some("2 failures in a row, the last: Unavailable: still loading")
    );
}

#[tokio::test(start_paused = true)]
async fn results_from_before_an_outage_are_late_even_when_all_is_well_again() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let circuit = Circuit::new("test", policy());
    let late = [
        Outcome::Success,
        Outcome::Ignored,
        Outcome::Overload,
        Outcome::Failure,
    ]
    .map(|outcome| (circuit.admit().unwrap(), outcome));
    circuit.hard_failure("connection refused");
    advance(SECOND).await;
    call(&circuit, Outcome::Success);
    for (permit, outcome) in late {
        permit.end(outcome, None);
    }
    assert_eq!(
        (circuit.status().state, circuit.failures()),
        (CircuitState::Closed, 0)
    );
    let page = page.render();
    let line = r#"mesh_late_results_total{target="test"} 4"#;
    assert!(page.lines().any(|found| found == line), "{page}");
}
