//! Where a call would go, in words.

use std::time::Duration;

use safelight_mesh::{EndpointExplanation, Explanation, Fault, FaultKind, Probe, Settings, Target};
use tokio::net::TcpListener;
use tonic_health::ServingStatus;

use crate::health::HealthServer;
use crate::load::{hasty, identify};
use crate::server::Manner;
use crate::stage::{Stage, patient, until};

fn of<'a>(explanation: &'a Explanation, endpoint: &str) -> &'a EndpointExplanation {
    let mut endpoints = explanation.endpoints.iter();
    endpoints.find(|found| found.endpoint == endpoint).unwrap()
}

/// Waits until the first endpoint is explained in such words.
async fn why(target: &Target, words: &[&str]) -> Explanation {
    let says = |explanation: &Explanation| {
        let first = explanation.endpoints.first();
        first.is_some_and(|first| words.iter().all(|words| first.why.contains(words)))
    };
    until(|| target.explain(), says).await
}

#[tokio::test]
async fn the_only_endpoint_would_get_the_call() {
    let stage = Stage::of(1, patient()).await;
    stage.call(3).await;
    let explanation = stage.target.explain();
    assert_eq!(explanation.target, "recognizer");
    assert_eq!(explanation.answer, format!("would go to {}", stage.address(0)));
    let endpoint = &explanation.endpoints[0];
    assert_eq!(endpoint.likelihood, 1.0);
    assert!(
        endpoint.why.starts_with("would get the call: cost ") && endpoint.why.contains(" ms, 0 in flight"),
        "{endpoint:?}"
    );
    let page = explanation.to_string();
    assert!(
        page.contains(&format!("  {}  would get the call", stage.address(0))),
        "{page}"
    );
}

#[tokio::test]
async fn of_three_endpoints_the_call_goes_where_it_was_said_to_go() {
    let stage = Stage::of(3, patient()).await;
    // So that one costs more than the others for as long as the test looks.
    let slow = &stage.running[2].server;
    slow.manner.send_replace(Manner::Slow(Duration::from_secs(3)));
    let channel = stage.target.channel();
    // Of a dozen at once some come to the slow one, and stay there.
    let many = channel.clone();
    let _on_it =
        tokio::spawn(async move { futures::future::join_all((0..12).map(|_| identify(&many))).await });
    until(|| stage.endpoint(2).in_flight, |in_flight| *in_flight > 0).await;
    until(
        || stage.endpoint(0).in_flight + stage.endpoint(1).in_flight,
        |in_flight| *in_flight == 0,
    )
    .await;

    let explanation = stage.target.explain();
    let dearest = of(&explanation, &stage.address(2));
    assert_eq!(dearest.likelihood, 0.0, "{explanation:#?}");
    assert!(
        dearest.why.starts_with("not: each of the others costs less"),
        "{dearest:?}"
    );
    let sum: f64 = explanation
        .endpoints
        .iter()
        .map(|endpoint| endpoint.likelihood)
        .sum();
    assert!((sum - 1.0).abs() < 1e-9, "{explanation:#?}");
    let before = stage.calls(2);
    for _ in 0..20 {
        identify(&channel).await.unwrap();
    }
    assert_eq!(stage.calls(2), before, "it was said to get none");
}

#[tokio::test]
async fn an_open_circuit_is_explained_by_its_evidence_and_its_end() {
    let settings = Settings {
        open_first: Duration::from_secs(20),
        open_longest: Duration::from_secs(60),
        probe_interval: Duration::from_secs(30),
        ..hasty()
    };
    let stage = Stage::of(1, settings).await;
    stage.running[0].server.manner.send_replace(Manner::Unavailable);
    stage.call(5).await;
    let explanation = why(
        &stage.target,
        &[
            "not: circuit open for another ",
            " s after: 5 failures in a row",
            "as told",
            ", next probe in ",
        ],
    )
    .await;
    assert!(
        explanation.answer.starts_with("would fail at once: "),
        "{explanation:#?}"
    );
    assert!(
        explanation.answer.contains(", asked again in "),
        "{explanation:#?}"
    );
    assert_eq!(explanation.endpoints[0].likelihood, 0.0);
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_is_explained_by_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let target = Target::builder("recognizer", format!("static:///{address}"))
        .settings(hasty())
        .probe(Probe::Connect)
        .connect()
        .unwrap();
    let explanation = why(&target, &["not: ", "refused", ", next attempt to connect in "]).await;
    assert!(
        explanation.answer.starts_with("would fail at once: "),
        "{explanation:#?}"
    );
}

#[tokio::test]
async fn an_endpoint_that_is_not_serving_is_explained_by_its_probe() {
    let server = HealthServer::start().await;
    server.says(ServingStatus::NotServing).await;
    let target = server.target();
    why(
        &target,
        &["not: ", "health probe: not serving", ", next probe in "],
    )
    .await;
}

#[tokio::test]
async fn an_endpoint_that_ramps_up_says_how_far_it_is() {
    let settings = Settings {
        ramp: Duration::from_secs(600),
        ..hasty()
    };
    let stage = Stage::of(2, settings).await;
    let handle = stage.target.endpoint(&stage.address(0)).unwrap();
    handle.force_open("so that it comes back");
    until(|| stage.endpoint(0).standing, |standing| *standing == "out").await;
    handle.reset();
    until(|| stage.endpoint(0).standing, |standing| *standing == "ready").await;
    let explanation = stage.target.explain();
    let ramps = |server: usize| {
        let endpoint = of(&explanation, &stage.address(server));
        endpoint.why.contains("ramping up: ")
    };
    assert!(ramps(0) && !ramps(1), "{explanation:#?}");
}

#[tokio::test]
async fn an_explanation_tells_that_faults_are_injected() {
    let stage = Stage::of(1, patient()).await;
    let fault = Fault {
        endpoint: None,
        percent: 20.0,
        kind: FaultKind::BlackHole,
    };
    stage.target.inject(vec![fault]).unwrap();
    let answer = stage.target.explain().answer;
    assert!(
        answer.ends_with("; faults are injected: 20 % everywhere: swallowed"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_target_at_its_limit_says_that_a_call_would_wait() {
    let settings = Settings {
        in_flight_limit: 1,
        ..patient()
    };
    let stage = Stage::of(1, settings).await;
    stage.running[0]
        .server
        .manner
        .send_replace(Manner::Slow(Duration::from_secs(2)));
    let channel = stage.target.channel();
    let call = tokio::spawn(async move { identify(&channel).await });
    until(|| stage.endpoint(0).in_flight, |in_flight| *in_flight == 1).await;
    let answer = stage.target.explain().answer;
    assert!(
        answer.contains(", after a wait for one of 1 calls in flight to end"),
        "{answer}"
    );
    call.abort();
}
