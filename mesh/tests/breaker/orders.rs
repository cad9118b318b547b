//! Orders to a circuit, and its memory of what happened.

use std::borrow::Borrow;
use std::sync::Arc;

use safelight_mesh::breaker::{Circuit, CircuitState, OpenedBy, Outcome, Permit, Policy};
use tokio::time::{Duration, Instant, advance};

const SECOND: Duration = Duration::from_secs(1);

fn circuit() -> Circuit {
    let policy = Policy {
        consecutive_failures: 2,
        open_jitter: 0.0,
        ..Policy::default()
    };
    Circuit::new("test", policy)
}

fn fail(circuit: &Circuit, times: u32) {
    for _ in 0..times {
        circuit
            .admit()
            .unwrap()
            .end(Outcome::Failure, Some("Internal: oops"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_forced_open_stays_so_whatever_happens() {
    let circuit = circuit();
    let under_way = circuit.admit().unwrap();
    circuit.force_open("game day");
    let status = circuit.status();
    assert_eq!((status.state, status.forced), (CircuitState::Open, true));
    assert_eq!(
        (status.open_until, status.opened_by),
        (None, Some(OpenedBy::Forced))
    );
    under_way.end(Outcome::Success, None);
    advance(3600 * SECOND).await;
    circuit.probe_passed(circuit.status().generation);
    circuit.hard_failure("connection refused");
    let refused = circuit.admit().unwrap_err();
    assert_eq!(
        refused.to_string(),
        "circuit open for 3600.0 s after: forced open: game day"
    );
    assert_eq!(refused.retry_in(), Some(60 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_forced_closed_lets_everything_through_and_counts_it() {
    let circuit = circuit();
    fail(&circuit, 2);
    circuit.force_closed();
    fail(&circuit, 50);
    circuit.hard_failure("connection refused");
    let permit = circuit.admit().unwrap();
    permit.end_with_pushback(Outcome::Overload, SECOND, None);
    let status = circuit.status();
    assert_eq!((status.state, status.forced), (CircuitState::Closed, true));
    assert_eq!(circuit.failures(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_reset_is_as_good_as_new() {
    let circuit = circuit();
    for force in [Circuit::force_closed, |circuit: &Circuit| {
        circuit.force_open("game day")
    }] {
        force(&circuit);
        circuit.reset();
        let status = circuit.status();
        assert_eq!((status.state, status.forced), (CircuitState::Closed, false));
        assert_eq!((status.opened_by, status.evidence), (None, None));
    }
    // Its breaks begin with the first length, too.
    for _ in 0..3 {
        fail(&circuit, 2);
        assert_eq!(circuit.status().open_until, Some(Instant::now() + SECOND));
        circuit.reset();
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_changes_are_told_with_their_evidence() {
    let circuit = circuit();
    let start = Instant::now();
    fail(&circuit, 2);
    advance(SECOND).await;
    fail(&circuit, 1);
    advance(2 * SECOND).await;
    circuit.probe_passed(circuit.status().generation);
    circuit.admit().unwrap().end(Outcome::Success, None);
    circuit.force_closed();
    let transitions = circuit.transitions();
    let told: Vec<_> = transitions
        .iter()
        .map(|change| {
            let at = (change.at - start).as_secs();
            (at, change.from.as_str(), change.to.as_str(), &*change.evidence)
        })
        .collect();
    let opened = "2 failures in a row, the last: Internal: oops";
    assert_eq!(
        told,
        [
            (0, "closed", "open", opened),
            (1, "open", "half_open", "the break was over"),
            (1, "half_open", "open", opened),
            (3, "open", "half_open", "a probe passed"),
            (3, "half_open", "closed", "a call succeeded"),
            (3, "closed", "closed", "forced closed"),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn no_more_than_sixteen_changes_are_kept() {
    let circuit = circuit();
    for order in 0..40 {
        circuit.force_open(&format!("order {order}"));
        circuit.reset();
    }
    let transitions = circuit.transitions();
    assert_eq!(transitions.len(), 16);
    assert_eq!(&*transitions[14].evidence, "forced open: order 39");
    assert_eq!(&*transitions[15].evidence, "reset");
}

#[tokio::test(start_paused = true)]
async fn a_permit_knows_its_start_where_it_was_told_or_the_policy_has_to_know() {
    let circuit = circuit();
    assert_eq!(circuit.admit().unwrap().started(), None);
    let now = Instant::now();
    assert_eq!(circuit.admit_at(now).unwrap().started(), Some(now));
}

/// An endpoint as a pool of them may have it.
#[derive(Clone)]
struct Endpoint(Arc<(Circuit, u16)>);

impl Borrow<Circuit> for Endpoint {
    fn borrow(&self) -> &Circuit {
        &self.0.0
    }
}

#[tokio::test(start_paused = true)]
async fn a_permit_can_hold_the_endpoint_whose_circuit_it_is() {
    let endpoint = Endpoint(Arc::new((circuit(), 50051)));
    let now = Instant::now();
    let permit = Permit::ask(endpoint.clone(), Some(now)).unwrap();
    assert_eq!((permit.holder().0.1, permit.started()), (50051, Some(now)));
    permit.end(Outcome::Failure, None);
    assert_eq!(endpoint.0.0.failures(), 1);
    endpoint.0.0.force_open("game day");
    assert!(Permit::ask(endpoint, None).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_borrowed_permit_that_becomes_an_owned_one_keeps_its_slot() {
    let circuit = circuit();
    circuit.hard_failure("connection refused");
    advance(SECOND).await;
    let trial = circuit.enter().unwrap().into_owned();
    assert!(circuit.enter().is_err());
    drop(trial);
    drop(circuit.enter().unwrap());
    circuit.enter().unwrap().end(Outcome::Success, None);
    assert_eq!(circuit.status().state, CircuitState::Closed);
}
