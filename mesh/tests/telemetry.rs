//! What a circuit writes into the log and the metrics.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use safelight_mesh::breaker::{Cap, Circuit, Outcome, Policy};
use safelight_mesh::{Fault, FaultKind, Target};
use tokio::time::Instant;

fn policy() -> Policy {
    Policy {
        consecutive_failures: 2,
        open_jitter: 0.0,
        ..Policy::default()
    }
}

/// Opens the circuit, refuses a call, fails a trial, and closes.
async fn one_outage(circuit: &Circuit) {
    let admit = || circuit.admit_at(Instant::now()).unwrap();
    admit().end(Outcome::Success, None);
    let late = admit();
    admit().end(Outcome::Failure, Some("Unavailable: models are loading"));
    admit().end(Outcome::Failure, Some("Unavailable: models are loading"));
    assert!(circuit.admit().is_err());
    late.end(Outcome::Success, None);
    tokio::time::advance(Duration::from_secs(1)).await;
    admit().end(Outcome::Failure, Some("Internal: still not"));
    tokio::time::advance(Duration::from_secs(2)).await;
    admit().end(Outcome::Overload, None);
    admit().end(Outcome::Success, None);
}

#[tokio::test(start_paused = true)]
async fn metrics_tell_the_outage() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let circuit = Circuit::new("billing", policy());
    one_outage(&circuit).await;

    let page = handle.render();
    for line in [
        r#"mesh_circuit_state{target="billing"} 0"#,
        r#"mesh_circuit_transitions_total{target="billing",from="closed",to="open"} 1"#,
        r#"mesh_circuit_transitions_total{target="billing",from="open",to="half_open"} 2"#,
        r#"mesh_circuit_transitions_total{target="billing",from="half_open",to="open"} 1"#,
        r#"mesh_circuit_transitions_total{target="billing",from="half_open",to="closed"} 1"#,
        r#"mesh_calls_total{target="billing",outcome="success"} 3"#,
        r#"mesh_calls_total{target="billing",outcome="failure"} 3"#,
        r#"mesh_calls_total{target="billing",outcome="overload"} 1"#,
        r#"mesh_calls_rejected_total{target="billing"} 1"#,
        r#"mesh_late_results_total{target="billing"} 1"#,
        r#"mesh_call_seconds_count{target="billing"} 7"#,
    ] {
        assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_circuits_of_a_targets_endpoints_are_told_apart() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let of = |endpoint: &str| Circuit::for_endpoint("billing", endpoint, policy(), Cap::new());
    let (well, broken) = (of("10.0.0.1:50051"), of("10.0.0.2:50051"));
    well.admit().unwrap().end(Outcome::Success, None);
    broken.hard_failure("refused");
    assert!(broken.admit().is_err());

    let has = |line: &str| {
        let page = handle.render();
        assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
    };
    has(r#"mesh_circuit_state{target="billing",endpoint="10.0.0.1:50051"} 0"#);
    has(r#"mesh_circuit_state{target="billing",endpoint="10.0.0.2:50051"} 2"#);
    has(r#"mesh_calls_total{target="billing",endpoint="10.0.0.1:50051",outcome="success"} 1"#);
    has(r#"mesh_calls_rejected_total{target="billing",endpoint="10.0.0.2:50051"} 1"#);
    has(
        r#"mesh_circuit_transitions_total{target="billing",endpoint="10.0.0.2:50051",from="closed",to="open"} 1"#,
    );

    drop(broken);
    has(r#"mesh_circuit_state{target="billing",endpoint="10.0.0.2:50051"} 0"#);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn every_change_of_state_is_one_line_of_the_log() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone())
        .finish();
    let _installed = tracing::subscriber::set_default(subscriber);
    // As in the test below.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let circuit = Circuit::new("billing", policy());
    one_outage(&circuit).await;

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let wanted = [
        (
            "WARN",
            "circuit opened",
            r#"why="Unavailable: models are loading""#,
        ),
        ("INFO", "circuit lets one call through", r#"from="open""#),
        ("WARN", "circuit opened", "open_for_ms=2000"),
        ("INFO", "circuit lets one call through", r#"to="half_open""#),
        ("INFO", "circuit closed", r#"target_name="billing""#),
    ];
    assert_eq!(text.lines().count(), wanted.len(), "{text}");
    for (line, (level, message, field)) in text.lines().zip(wanted) {
        assert!(
            line.contains(level) && line.contains(message) && line.contains(field),
            "{line}"
        );
    }
}

#[tokio::test]
async fn what_somebody_does_to_a_target_is_warned_of() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(move || writer.clone())
        .finish();
    let _installed = tracing::subscriber::set_default(subscriber);
    // With one dispatcher, tracing asks the thread that comes first upon a log line whether it is wanted, once and for
    // all: and that may be the thread of another test, which wants none. With two it asks them both.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    // Nobody need be there.
    let target = Target::builder("billing", "static:///127.0.0.1:9")
        .connect()
        .unwrap();
    let fault = Fault {
        endpoint: None,
        percent: 20.0,
        kind: FaultKind::BlackHole,
    };
    target.inject(vec![fault.clone()]).unwrap();
    target.inject(Vec::new()).unwrap();
    // There is nothing to clear any more.
    target.inject(Vec::new()).unwrap();
    target.inject_for(vec![fault], Duration::from_millis(1)).unwrap();
    while !target.faults().faults.is_empty() {
        tokio::task::yield_now().await;
    }
    while target.snapshot().endpoints.is_empty() {
        tokio::task::yield_now().await;
    }
    target
        .endpoint("127.0.0.1:9")
        .unwrap()
        .force_open("disk is exchanged");

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let told: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("fault") || line.contains("ordered"))
        .collect();
    let wanted = [
        ("faults injected", r#"faults="20 % everywhere: swallowed""#),
        ("faults cleared", r#"target_name="billing""#),
        ("faults injected", "seconds=0.001"),
        ("faults have ended by themselves", r#"target_name="billing""#),
        ("circuit ordered", r#"why="disk is exchanged""#),
    ];
    assert_eq!(told.len(), wanted.len(), "{text}");
    for (line, (message, field)) in told.iter().zip(wanted) {
        assert!(line.contains(message) && line.contains(field), "{line}");
    }
}
