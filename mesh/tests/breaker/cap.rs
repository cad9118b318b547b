//! Soft evidence asks a limit that the circuits of one target share.

use metrics_exporter_prometheus::PrometheusBuilder;
use safelight_mesh::breaker::{Cap, Circuit, CircuitState, Outcome, Policy, Rate, Span};
use tokio::time::{Duration, advance};

fn soft() -> Policy {
    Policy {
        consecutive_failures: 0,
        failure_rate: Some(Rate {
            threshold: 0.5,
            minimum_calls: 4,
            over: Span::Time(Duration::from_secs(10)),
        }),
        open_jitter: 0.0,
        ..Policy::default()
    }
}

fn circuits(endpoints: usize) -> (Cap, Vec<Circuit>) {
    let cap = Cap::new();
    cap.set_endpoints(endpoints);
    let circuits = (0..endpoints)
        .map(|_| Circuit::with_cap("test", soft(), cap.clone()))
        .collect();
    (cap, circuits)
}

fn half_of_four_fail(circuit: &Circuit) {
    for outcome in [
        Outcome::Failure,
        Outcome::Success,
        Outcome::Success,
        Outcome::Failure,
    ] {
        circuit.admit().unwrap().end(outcome, Some("Internal: oops"));
    }
}

fn open(circuits: &[Circuit]) -> usize {
    let open = |circuit: &&Circuit| circuit.status().state == CircuitState::Open;
    circuits.iter().filter(open).count()
}

#[tokio::test(start_paused = true)]
async fn at_most_half_of_the_endpoints_are_shut_out_on_soft_evidence() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let (cap, circuits) = circuits(4);
    circuits.iter().for_each(half_of_four_fail);
    assert_eq!(open(&circuits), 2);
    assert_eq!(cap.softly_open(), 2);
    let withheld = circuits[3].transitions();
    assert_eq!(withheld.len(), 1);
    assert_eq!(
        (withheld[0].from, withheld[0].to),
        (CircuitState::Closed, CircuitState::Closed)
    );
    assert_eq!(
        &*withheld[0].evidence,
        "soft evidence: 2 of 4 calls failed in 10s; not opened, 2 of at most 2 are"
    );
    let page = page.render();
    let line = r#"mesh_soft_openings_refused_total{target="test"} 2"#;
    assert!(page.lines().any(|found| found == line), "{page}");
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_was_not_allowed_to_open_asks_again_by_new_evidence() {
    let (_, circuits) = circuits(2);
    circuits.iter().for_each(half_of_four_fail);
    assert_eq!(open(&circuits), 1);
    advance(Duration::from_secs(1)).await;
    circuits[0].admit().unwrap().end(Outcome::Success, None);
    circuits[1].admit().unwrap().end(Outcome::Failure, None);
    assert_eq!(
        circuits[1].status().state,
        CircuitState::Closed,
        "one call is no evidence"
    );
    for _ in 0..3 {
        circuits[1].admit().unwrap().end(Outcome::Failure, None);
    }
    assert_eq!(circuits[1].status().state, CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_place_under_the_cap_is_kept_while_trials_fail_and_free_when_the_circuit_closes() {
    let (cap, circuits) = circuits(1);
    half_of_four_fail(&circuits[0]);
    advance(Duration::from_secs(1)).await;
    circuits[0].admit().unwrap().end(Outcome::Failure, None);
    assert_eq!(cap.softly_open(), 1);
    advance(Duration::from_secs(2)).await;
    let trial = circuits[0].admit().unwrap();
    assert_eq!(cap.softly_open(), 1);
    trial.end(Outcome::Success, None);
    assert_eq!(cap.softly_open(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_reset_forced_found_dead_or_dropped_gives_its_place_back() {
    type Act = fn(Circuit);
    let acts: [(&str, Act); 5] = [
        ("reset", |circuit| circuit.reset()),
        ("forced open", |circuit| circuit.force_open("an order")),
        ("forced closed", |circuit| circuit.force_closed()),
        ("found dead", |circuit| circuit.hard_failure("connection refused")),
        ("dropped", drop),
    ];
    for (name, act) in acts {
        let (cap, mut circuits) = circuits(1);
        half_of_four_fail(&circuits[0]);
        assert_eq!(cap.softly_open(), 1);
        let circuit = circuits.remove(0);
        let kept = (name != "dropped").then(|| circuit.clone());
        act(circuit);
        assert_eq!(cap.softly_open(), 0, "{name}");
        drop(kept);
    }
}

#[tokio::test(start_paused = true)]
async fn hard_evidence_failures_in_a_row_and_pushback_have_no_cap() {
    let cap = Cap::new();
    let policy = Policy {
        consecutive_failures: 2,
        ..soft()
    };
    let circuits: Vec<Circuit> = (0..4)
        .map(|_| Circuit::with_cap("test", policy.clone(), cap.clone()))
        .collect();
    circuits[0].hard_failure("connection refused");
    for circuit in &circuits[1..3] {
        circuit.admit().unwrap().end(Outcome::Failure, None);
        circuit.admit().unwrap().end(Outcome::Failure, None);
    }
    let permit = circuits[3].admit().unwrap();
    permit.end_with_pushback(Outcome::Overload, Duration::from_secs(3), None);
    assert_eq!(open(&circuits), 4);
    assert_eq!(cap.softly_open(), 0);
}

#[test]
fn circuits_that_trip_at_once_on_many_threads_stay_within_the_cap() {
    for _ in 0..200 {
        let (cap, circuits) = circuits(6);
        std::thread::scope(|scope| {
            for circuit in &circuits {
                scope.spawn(|| half_of_four_fail(circuit));
            }
        });
        assert_eq!((open(&circuits), cap.softly_open()), (3, 3));
    }
}
