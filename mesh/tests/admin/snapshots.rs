//! What a snapshot tells.

use std::time::Duration;

use safelight_mesh::Settings;
use tonic_health::ServingStatus;

use crate::health::HealthServer;
use crate::load::hasty;
use crate::server::{Manner, SERVICE_TIME};
use crate::stage::{Stage, codes, patient, until};

#[tokio::test]
async fn a_snapshot_tells_rates_and_percentiles_of_each_endpoint() {
    let stage = Stage::of(2, patient()).await;
    let slow = Duration::from_millis(200);
    let server = &stage.running[1].server;
    server.manner.send_replace(Manner::Slow(slow));
    let channel = stage.target.channel();
    let calls = (0..40).map(|_| crate::load::identify(&channel));
    for result in futures::future::join_all(calls).await {
        result.unwrap();
    }

    for (server, time) in [(0, SERVICE_TIME), (1, slow)] {
        let endpoint = stage.endpoint(server);
        let millis = time.as_secs_f64() * 1e3;
        assert_eq!(endpoint.standing, "ready");
        assert!(endpoint.connected);
        assert_eq!((endpoint.circuit, endpoint.generation), ("closed", 0));
        assert_eq!(endpoint.failure_part, Some(0.0));
        assert_eq!(endpoint.in_flight, 0);
        // Forty calls at once take longer than one; less than its time none can take.
        let within = millis * 0.93..millis * 0.93 + 500.0;
        assert!(within.contains(&endpoint.p50_ms.unwrap()), "{endpoint:#?}");
        assert!(within.contains(&endpoint.p99_ms.unwrap()), "{endpoint:#?}");
        // Less than half a second of calls is told as a second.
        let calls = stage.calls(server) as f64;
        assert!(
            endpoint.calls_per_second > 0.0 && endpoint.calls_per_second <= calls,
            "{endpoint:#?}"
        );
    }
    assert!(stage.endpoint(0).p50_ms < stage.endpoint(1).p50_ms);
}

#[tokio::test]
async fn a_snapshot_tells_of_an_open_circuit_how_it_came_and_when_it_is_asked_again() {
    let settings = Settings {
        open_first: Duration::from_secs(20),
        open_longest: Duration::from_secs(60),
        probe_interval: Duration::from_secs(30),
        retry_floor: 0.0,
        retry_budget: 0.0,
        ..hasty()
    };
    let stage = Stage::of(1, settings).await;
    let before = stage.target.snapshot();
    assert!(before.available);
    assert_eq!(before.retry_in_ms, None);
    stage.running[0].server.manner.send_replace(Manner::Unavailable);
    stage.call(5).await;

    let after = until(|| stage.target.snapshot(), |snapshot| !snapshot.available).await;
    assert!(after.reason.contains("as told"), "{}", after.reason);
    let endpoint = stage.endpoint(0);
    assert_eq!((endpoint.standing, endpoint.circuit), ("out", "open"));
    assert_eq!(endpoint.failure_part, Some(1.0));
    assert!(!endpoint.forced);
    let soon = |millis: Option<u64>| (1..=30_000).contains(&millis.unwrap());
    assert!(soon(endpoint.open_for_another_ms), "{endpoint:#?}");
    assert!(soon(endpoint.next_probe_in_ms), "{endpoint:#?}");
    assert!(soon(after.retry_in_ms), "{after:#?}");
    assert!(endpoint.circuit_for_ms < 10_000, "{endpoint:#?}");
    let [opened] = &endpoint.transitions[..] else {
        panic!("one transition was expected: {endpoint:#?}");
    };
    assert_eq!((opened.from, opened.to), ("closed", "open"));
    assert!(
        opened.evidence.starts_with("5 failures in a row") && opened.evidence.contains("as told"),
        "{opened:?}"
    );
    assert!(opened.ago_ms <= endpoint.circuit_for_ms + 1_000);
}

#[tokio::test]
async fn a_snapshot_tells_the_budget_that_is_left_for_retries() {
    let settings = Settings {
        retry_floor: 1.0,
        retry_budget: 0.0,
        ..patient()
    };
    let stage = Stage::of(2, settings).await;
    let full = stage.target.snapshot().retries_left;
    assert!(full > 0, "a floor of one a second gives some");
    for running in &stage.running {
        running.server.manner.send_replace(Manner::Unavailable);
    }
    let results = stage.call(full as usize + 20).await;
    assert!(
        codes(&results)
            .iter()
            .all(|code| *code == tonic::Code::Unavailable)
    );
    // What a second gives may have come back.
    assert!(stage.target.snapshot().retries_left <= 1);
}

#[tokio::test]
async fn an_endpoint_whose_probe_fails_is_out_and_says_why_and_when_it_is_asked_again() {
    let server = HealthServer::start().await;
    server.says(ServingStatus::NotServing).await;
    let target = server.target();
    let snapshot = until(
        || target.snapshot(),
        |snapshot| {
            snapshot
                .endpoints
                .iter()
                .any(|endpoint| endpoint.standing == "out")
        },
    )
    .await;
    let endpoint = &snapshot.endpoints[0];
    assert!(endpoint.connected);
    assert!(
        endpoint.why.as_deref().unwrap().contains("not serving"),
        "{endpoint:#?}"
    );
    assert!(endpoint.next_probe_in_ms.is_some(), "{endpoint:#?}");
    server.says(ServingStatus::Serving).await;
    until(|| target.snapshot(), |snapshot| snapshot.available).await;
    assert_eq!(target.snapshot().endpoints[0].why, None);
}

#[tokio::test]
async fn a_snapshot_is_plain_json() {
    let stage = Stage::of(1, patient()).await;
    stage.call(1).await;
    let json = serde_json::to_value(stage.target.snapshot()).unwrap();
    assert_eq!(json["target"], "recognizer");
    assert_eq!(json["endpoints"][0]["endpoint"], stage.address(0).as_str());
    assert_eq!(json["endpoints"][0]["circuit"], "closed");
    assert!(json["endpoints"][0]["p99_ms"].as_f64().unwrap() > 0.0);
}
