//! A target whose server goes away and comes back, over real connections.

use std::time::{Duration, Instant};

use crate::facerecog::{
    Manner, Recognizer, Server, availability, begun, half_open, hasty, identify, nobody, reached, reason,
};
use safelight_mesh::breaker::CircuitState;
use safelight_mesh::{CallFailure, Probe, Settings, Target, failure_of};
use tonic::Code;

fn target(address: &str, settings: Settings) -> Target {
    Target::builder("recognizer", address)
        .settings(settings)
        .probe(Probe::FaceRecog)
        .connect()
        .unwrap()
}

async fn fail_until_open(target: &Target) {
    let channel = target.channel();
    for _ in 0..5 {
        assert_eq!(target.circuit_state(), CircuitState::Closed);
        identify(&channel).await.unwrap_err();
    }
    assert_eq!(target.circuit_state(), CircuitState::Open);
}

#[tokio::test]
async fn a_call_reaches_the_server_and_its_answer_comes_back() {
    let server = Server::start().await;
    let target = target(&server.uri(), hasty());
    assert_eq!(identify(&target.channel()).await.unwrap(), "obama.jpg");
    availability(&target, true).await;
}

#[tokio::test]
async fn a_server_that_is_away_opens_the_circuit_and_calls_fail_at_once_and_unsent() {
    let target = target(&format!("http://{}", nobody().await), hasty());
    let channel = target.channel();
    // The first call waits for the first attempt to connect, the others for nothing.
    for _ in 0..20 {
        let status = identify(&channel).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(failure_of(&status), CallFailure::NotSent);
        assert!(status.message().contains("onnection refused"), "{status}");
        assert_eq!(status.metadata().get("mesh-target").unwrap(), "recognizer");
    }
    assert_eq!(target.circuit_state(), CircuitState::Open);
}

#[tokio::test]
async fn an_open_circuit_fails_calls_at_once_and_does_not_touch_the_socket() {
    let server = Server::start().await;
    // No probe and no break comes to its end within this test.
    let settings = Settings {
        probe_interval: Duration::from_secs(600),
        ..hasty()
    };
    let target = target(&server.uri(), settings);
    availability(&target, true).await;
    server
        .recognizer
        .manner
        .send_replace(Manner::Fail(Code::Internal));
    fail_until_open(&target).await;
    availability(&target, false).await;

    let channel = target.channel();
    let before = Instant::now();
    for _ in 0..1_000 {
        assert_eq!(
            failure_of(&identify(&channel).await.unwrap_err()),
            CallFailure::NotSent
        );
    }
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "a thousand refusals took {:?}",
        before.elapsed()
    );
    assert_eq!(server.recognizer.calls(), 5);
}

#[tokio::test]
async fn a_target_is_unavailable_from_the_start_while_its_server_is_away() {
    let address = nobody().await;
    let target = target(&format!("http://{address}"), hasty());
    assert!(!target.availability().borrow().is_available());
    reason(&target, "onnection refused").await;
    assert!(!target.availability().borrow().is_available());

    let _server = Server::start_at(address, Recognizer::new()).await;
    availability(&target, true).await;
}

#[tokio::test]
async fn a_port_that_takes_connections_and_says_nothing_is_no_endpoint_whatever_the_probe() {
    // Nobody accepts: the kernel does, as it does for a process that is stuck.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = Settings {
        connect_timeout: Duration::from_millis(50),
        ..hasty()
    };
    let target = Target::builder("recognizer", format!("http://{}", silent.local_addr().unwrap()))
        .settings(settings)
        .probe(Probe::Connect)
        .connect()
        .unwrap();
    let status = identify(&target.channel()).await.unwrap_err();
    assert_eq!(failure_of(&status), CallFailure::NotSent, "{status}");
    assert!(status.message().contains("took longer than 50 ms"), "{status}");
    assert!(!target.availability().borrow().is_available());
}

#[tokio::test]
async fn a_target_is_unavailable_while_its_server_is_not_ready() {
    let server = Server::start().await;
    server.recognizer.ready.send_replace(false);
    let target = target(&server.uri(), hasty());
    reason(&target, "not ready").await;
    server.recognizer.ready.send_replace(true);
    availability(&target, true).await;
    assert_eq!(server.recognizer.calls(), 0);
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_though_nobody_calls_and_a_call_closes_the_circuit() {
    let server = Server::start().await;
    let target = target(&server.uri(), hasty());
    availability(&target, true).await;
    let (address, recognizer) = server.kill();
    availability(&target, false).await;
    assert_eq!(target.circuit_state(), CircuitState::Open);

    let server = Server::start_at(address, recognizer).await;
    half_open(&target).await;
    assert_eq!(target.circuit_state(), CircuitState::HalfOpen);
    assert!(target.availability().borrow().is_available());
    assert_eq!(server.recognizer.calls(), 0);

    identify(&target.channel()).await.unwrap();
    assert_eq!(target.circuit_state(), CircuitState::Closed);
    reached(&target, |now| now.is_available() && !now.one_at_a_time).await;
}

#[tokio::test]
async fn many_outages_in_a_row_all_heal() {
    let mut server = Server::start().await;
    let target = target(&server.uri(), hasty());
    for _ in 0..5 {
        availability(&target, true).await;
        identify(&target.channel()).await.unwrap();
        let (address, recognizer) = server.kill();
        availability(&target, false).await;
        identify(&target.channel()).await.unwrap_err();
        server = Server::start_at(address, recognizer).await;
    }
    availability(&target, true).await;
    identify(&target.channel()).await.unwrap();
}

#[tokio::test]
async fn a_server_killed_in_the_middle_of_a_call_breaks_it_and_does_not_pass_for_unsent() {
    let server = Server::start().await;
    server.recognizer.manner.send_replace(Manner::Hang);
    let target = target(&server.uri(), hasty());
    let channel = target.channel();
    let call = tokio::spawn(async move { identify(&channel).await });
    begun(&server, 1).await;
    server.kill();
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(failure_of(&status), CallFailure::Broken, "{status:?}");
    assert_eq!(status.code(), Code::Unavailable);
}
