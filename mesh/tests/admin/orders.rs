//! Endpoints that are ordered about.

use std::time::Duration;

use safelight_mesh::{CallFailure, Settings, failure_of};
use tonic::Code;

use crate::load::hasty;
use crate::server::Manner;
use crate::stage::{Stage, codes, patient, until};

#[tokio::test]
async fn an_endpoint_that_is_forced_open_gets_no_call_until_it_is_reset() {
    let stage = Stage::of(2, patient()).await;
    let handle = stage.target.endpoint(&stage.address(0)).unwrap();
    assert_eq!(handle.endpoints().collect::<Vec<_>>(), [stage.address(0)]);
    handle.force_open("disk is being exchanged");

    let results = stage.call(20).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!((stage.calls(0), stage.calls(1)), (0, 20));
    // Its probes pass all the while.
    until(|| stage.running[0].server.probes(), |probes| *probes >= 3).await;
    let endpoint = stage.endpoint(0);
    assert_eq!(
        (endpoint.standing, endpoint.circuit, endpoint.forced),
        ("out", "open", true)
    );
    let explanation = stage.target.explain();
    let [_, forced] = &explanation.endpoints[..] else {
        panic!("two endpoints were expected: {explanation:#?}");
    };
    assert_eq!(forced.endpoint, stage.address(0));
    assert!(
        forced.why.contains("disk is being exchanged") && forced.why.ends_with(" ago, until it is reset"),
        "{forced:?}"
    );

    handle.reset();
    until(|| stage.endpoint(0).standing, |standing| *standing == "ready").await;
    assert!(!stage.endpoint(0).forced);
    for _ in 0..50 {
        stage.call(10).await;
        if stage.calls(0) > 0 {
            return;
        }
    }
    panic!("it gets no call after the reset");
}

#[tokio::test]
async fn with_all_endpoints_forced_open_calls_fail_at_once_and_say_so() {
    let stage = Stage::of(2, patient()).await;
    let all = stage.target.endpoint("all").unwrap();
    assert_eq!(all.endpoints().count(), 2);
    all.force_open("the data center moves");
    until(|| stage.target.snapshot().available, |available| !*available).await;
    let answer = stage.target.explain().answer;
    assert!(
        answer.ends_with("forced open: the data center moves"),
        "not asked again, either: {answer}"
    );
    let status = stage.call(1).await.remove(0).unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(failure_of(&status), CallFailure::NotSent);
    assert!(status.message().contains("the data center moves"), "{status}");
    assert_eq!(stage.calls(0) + stage.calls(1), 0);
    let availability = stage.target.availability().borrow().clone();
    assert!(
        availability.reason.contains("the data center moves"),
        "{availability:?}"
    );

    all.reset();
    until(|| stage.target.snapshot().available, |available| *available).await;
    assert_eq!(codes(&stage.call(1).await), [Code::Ok]);
}

#[tokio::test]
async fn an_endpoint_that_is_forced_closed_keeps_its_calls_whatever_becomes_of_them() {
    let settings = Settings {
        retry_budget: 0.0,
        retry_floor: 0.0,
        ..hasty()
    };
    let stage = Stage::of(1, settings).await;
    stage.target.endpoint(&stage.address(0)).unwrap().force_closed();
    stage.running[0].server.manner.send_replace(Manner::Unavailable);
    stage.call(30).await;
    assert_eq!(
        stage.calls(0),
        30,
        "a circuit of five failures has let all through"
    );
    let endpoint = stage.endpoint(0);
    assert_eq!((endpoint.circuit, endpoint.forced), ("closed", true));
    assert_eq!(endpoint.failures_in_a_row, 30);

    stage.target.endpoint("all").unwrap().reset();
    stage.call(30).await;
    assert!(stage.calls(0) < 60, "and none after it was reset");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_refused_with_those_that_are() {
    let stage = Stage::of(2, patient()).await;
    let error = stage.target.endpoint("10.9.8.7:1").unwrap_err();
    assert_eq!(error.endpoint, "10.9.8.7:1");
    let mut known = [stage.address(0), stage.address(1)];
    known.sort();
    let mut told = error.known.clone();
    told.sort();
    assert_eq!(told, known);
    assert_eq!(
        error.to_string(),
        format!(
            "target recognizer has no endpoint 10.9.8.7:1; it has {}",
            error.known.join(", ")
        )
    );
}

#[tokio::test]
async fn an_order_does_not_end_calls_that_are_under_way() {
    let stage = Stage::of(1, patient()).await;
    stage.running[0]
        .server
        .manner
        .send_replace(Manner::Slow(Duration::from_millis(300)));
    let channel = stage.target.channel();
    let call = tokio::spawn(async move { crate::load::identify(&channel).await });
    until(|| stage.calls(0), |calls| *calls == 1).await;
    stage.target.endpoint("all").unwrap().force_open("maintenance");
    call.await.unwrap().unwrap();
}
