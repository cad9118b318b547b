//! Faults that are injected into calls.

use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusBuilder;
use safelight_mesh::{Fault, FaultError, FaultKind, Settings};
use tonic::Code;

use crate::load::{hasty, identify};
use crate::stage::{Stage, codes, patient, until};

fn everywhere(percent: f64, kind: FaultKind) -> Fault {
    Fault {
        endpoint: None,
        percent,
        kind,
    }
}

fn at(endpoint: String, kind: FaultKind) -> Fault {
    Fault {
        endpoint: Some(endpoint),
        percent: 100.0,
        kind,
    }
}

fn abort() -> FaultKind {
    FaultKind::Abort(Code::Unavailable, "game day".to_owned())
}

/// One try and no more.
fn once(settings: Settings) -> Settings {
    Settings { tries: 1, ..settings }
}

#[tokio::test]
async fn an_aborted_call_gets_the_status_and_is_not_sent() {
    let stage = Stage::of(1, once(patient())).await;
    let kind = FaultKind::Abort(Code::PermissionDenied, "game day: 100 %".to_owned());
    stage.target.inject(vec![everywhere(100.0, kind)]).unwrap();
    let status = stage.call(1).await.remove(0).unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::PermissionDenied, "game day: 100 %")
    );
    assert_eq!(stage.calls(0), 0);
}

#[tokio::test]
async fn faults_at_one_endpoint_open_its_circuit_and_calls_go_to_the_others() {
    let settings = Settings {
        retry_floor: 1_000.0,
        ..hasty()
    };
    let stage = Stage::of(3, settings).await;
    stage.target.inject(vec![at(stage.address(0), abort())]).unwrap();
    let results = stage.call(60).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(stage.calls(0), 0);
    let endpoint = stage.endpoint(0);
    let opened = endpoint
        .transitions
        .iter()
        .find(|transition| transition.to == "open");
    assert!(opened.unwrap().evidence.contains("game day"), "{endpoint:#?}");

    stage.target.inject(Vec::new()).unwrap();
    until(|| stage.endpoint(0).standing, |standing| *standing != "out").await;
    for _ in 0..100 {
        stage.call(5).await;
        if stage.calls(0) > 0 {
            return;
        }
    }
    panic!("without the fault it gets no call");
}

#[tokio::test]
async fn a_delayed_call_takes_so_much_longer() {
    let stage = Stage::of(1, patient()).await;
    let delay = Duration::from_millis(300);
    stage
        .target
        .inject(vec![everywhere(100.0, FaultKind::Delay(delay))])
        .unwrap();
    let begun = Instant::now();
    assert_eq!(codes(&stage.call(1).await), [Code::Ok]);
    assert!(begun.elapsed() >= delay);
    assert!(
        stage.endpoint(0).p50_ms.unwrap() >= 280.0,
        "the circuit has seen it, too"
    );
    assert_eq!(stage.calls(0), 1);
}

#[tokio::test]
async fn a_delay_past_the_deadline_ends_at_the_deadline() {
    let settings = Settings {
        deadline: Duration::from_millis(200),
        ..once(patient())
    };
    let stage = Stage::of(1, settings).await;
    stage
        .target
        .inject(vec![everywhere(100.0, FaultKind::Delay(Duration::from_secs(30)))])
        .unwrap();
    let begun = Instant::now();
    assert_eq!(codes(&stage.call(1).await), [Code::DeadlineExceeded]);
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(200) && took < Duration::from_secs(2),
        "{took:?}"
    );
    assert_eq!(stage.calls(0), 0);
}

#[tokio::test]
async fn a_black_hole_ends_at_the_deadline_and_counts_as_a_failure() {
    let settings = Settings {
        deadline: Duration::from_millis(200),
        ..once(patient())
    };
    let stage = Stage::of(1, settings).await;
    stage
        .target
        .inject(vec![everywhere(100.0, FaultKind::BlackHole)])
        .unwrap();
    let begun = Instant::now();
    assert_eq!(codes(&stage.call(1).await), [Code::DeadlineExceeded]);
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(200) && took < Duration::from_secs(2),
        "{took:?}"
    );
    assert_eq!(stage.calls(0), 0);
    assert_eq!(stage.endpoint(0).failures_in_a_row, 1);
}

#[tokio::test]
async fn several_faults_happen_in_their_order() {
    let stage = Stage::of(1, once(patient())).await;
    let delay = Duration::from_millis(150);
    stage
        .target
        .inject(vec![
            everywhere(100.0, FaultKind::Delay(delay)),
            everywhere(100.0, abort()),
        ])
        .unwrap();
    let begun = Instant::now();
    assert_eq!(codes(&stage.call(1).await), [Code::Unavailable]);
    assert!(begun.elapsed() >= delay);
}

#[tokio::test]
async fn a_percentage_of_the_calls_meets_a_fault() {
    let stage = Stage::of(1, once(patient())).await;
    stage.target.inject(vec![everywhere(30.0, abort())]).unwrap();
    let channel = stage.target.channel();
    let calls = futures::future::join_all((0..1_000).map(|_| identify(&channel))).await;
    let failed = calls.iter().filter(|result| result.is_err()).count();
    // 300 are expected; six standard deviations are 87.
    assert!((213..=387).contains(&failed), "{failed} of 1000");
    assert_eq!(stage.calls(0), 1_000 - failed);
}

#[tokio::test]
async fn faults_that_are_replaced_or_cleared_are_gone() {
    let stage = Stage::of(1, once(patient())).await;
    assert_eq!(stage.target.faults().end_in, None);
    let first = everywhere(100.0, FaultKind::BlackHole);
    stage.target.inject(vec![first.clone()]).unwrap();
    assert_eq!(stage.target.faults().faults, [first]);
    let second = at(stage.address(0), abort());
    stage.target.inject(vec![second.clone()]).unwrap();
    let injected = stage.target.faults();
    assert_eq!(injected.faults, [second]);
    assert!(injected.end_in.unwrap() > Fault::USUAL - Duration::from_secs(60));
    assert!(injected.end_in.unwrap() <= Fault::USUAL);
    assert_eq!(codes(&stage.call(1).await), [Code::Unavailable]);

    stage.target.inject(Vec::new()).unwrap();
    assert!(stage.target.faults().faults.is_empty());
    assert_eq!(codes(&stage.call(1).await), [Code::Ok]);
}

#[tokio::test]
async fn faults_end_by_themselves() {
    let stage = Stage::of(1, once(patient())).await;
    let injected = vec![everywhere(100.0, abort())];
    stage
        .target
        .inject_for(injected, Duration::from_millis(200))
        .unwrap();
    assert_eq!(codes(&stage.call(1).await), [Code::Unavailable]);
    until(|| stage.target.faults().faults.len(), |faults| *faults == 0).await;
    assert_eq!(codes(&stage.call(1).await), [Code::Ok]);
}

#[tokio::test]
async fn the_end_of_older_faults_does_not_end_newer_ones() {
    let stage = Stage::of(1, once(patient())).await;
    let fault = || vec![everywhere(100.0, abort())];
    stage
        .target
        .inject_for(fault(), Duration::from_millis(50))
        .unwrap();
    stage.target.inject_for(fault(), Duration::from_secs(60)).unwrap();
    let begun = Instant::now();
    until(
        || begun.elapsed(),
        |elapsed| *elapsed > Duration::from_millis(150),
    )
    .await;
    assert_eq!(codes(&stage.call(1).await), [Code::Unavailable]);
}

#[tokio::test]
async fn the_name_all_means_every_endpoint() {
    let stage = Stage::of(2, once(patient())).await;
    stage.target.inject(vec![at("all".to_owned(), abort())]).unwrap();
    assert_eq!(stage.target.faults().faults, [everywhere(100.0, abort())]);
    assert_eq!(codes(&stage.call(4).await), [Code::Unavailable; 4]);
}

#[tokio::test]
async fn faults_that_cannot_be_are_refused_and_those_before_stay() {
    let stage = Stage::of(1, patient()).await;
    let before = everywhere(1.0, abort());
    stage.target.inject(vec![before.clone()]).unwrap();
    for percent in [0.0, -1.0, 100.1, f64::NAN, f64::INFINITY] {
        let error = stage
            .target
            .inject(vec![everywhere(percent, abort())])
            .unwrap_err();
        assert!(matches!(error, FaultError::Percent { .. }), "{error}");
    }
    let delay = Duration::from_secs(61);
    assert_eq!(
        stage
            .target
            .inject(vec![everywhere(1.0, FaultKind::Delay(delay))]),
        Err(FaultError::Delay { delay })
    );
    let fine = FaultKind::Abort(Code::Ok, String::new());
    assert_eq!(
        stage.target.inject(vec![everywhere(1.0, fine)]),
        Err(FaultError::Code)
    );
    for time in [Duration::ZERO, Duration::from_secs(3_601)] {
        assert_eq!(
            stage.target.inject_for(vec![everywhere(1.0, abort())], time),
            Err(FaultError::Time { time })
        );
    }
    let error = stage
        .target
        .inject(vec![at("10.9.8.7:1".to_owned(), abort())])
        .unwrap_err();
    assert!(error.to_string().contains(&stage.address(0)), "{error}");
    assert_eq!(stage.target.faults().faults, [before]);
}

#[tokio::test]
async fn faults_are_counted_by_their_kind() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    // The test and its tasks are one thread.
    let _installed = metrics::set_default_local_recorder(&recorder);
    let stage = Stage::of(1, once(patient())).await;
    stage
        .target
        .inject(vec![
            everywhere(100.0, FaultKind::Delay(Duration::from_millis(1))),
            everywhere(100.0, abort()),
        ])
        .unwrap();
    stage.call(3).await;
    let page = handle.render();
    for line in [
        r#"mesh_faults_injected_total{target="recognizer",kind="delay"} 3"#,
        r#"mesh_faults_injected_total{target="recognizer",kind="abort"} 3"#,
        r#"mesh_faults_injected_total{target="recognizer",kind="black_hole"} 0"#,
    ] {
        assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
    }
}
