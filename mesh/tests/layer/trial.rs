//! The one call of a half-open circuit, cancelled at every point.

use std::time::Duration;

use http_body::Body;
use http_body_util::BodyExt;
use safelight_mesh::breaker::CircuitState;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};

use crate::scripted::{
    assert_refused, data, exchange, fail, grpc_request, grpc_response, open, policy, spawn, trailers,
};

#[tokio::test(start_paused = true)]
async fn half_open_one_clone_calls_and_the_other_is_refused() {
    let (circuit, mut service, mut handle) = open().await;
    handle.allow(2);
    tokio::time::advance(Duration::from_secs(1)).await;
    // Both are ready: readiness holds no slot, the call takes it.
    let mut clone = service.clone();
    assert_ready_ok!(service.poll_ready());
    assert_ready_ok!(clone.poll_ready());
    let mut trial = task::spawn(service.call(grpc_request()));
    assert_pending!(trial.poll());
    let mut second = task::spawn(clone.call(grpc_request()));
    assert_refused(assert_ready_err!(second.poll()));

    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(grpc_response([trailers("0")]));
    let response = assert_ready_ok!(trial.poll());
    assert_eq!(
        circuit.status().state,
        CircuitState::HalfOpen,
        "headers are no verdict"
    );
    response.into_body().collect().await.unwrap();
    assert_eq!(circuit.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_readied_clone_that_never_calls_holds_no_slot() {
    let (_, mut service, mut handle) = open().await;
    handle.allow(2);
    tokio::time::advance(Duration::from_secs(1)).await;
    let mut idle = service.clone();
    assert_ready_ok!(idle.poll_ready());
    assert_ready_ok!(service.poll_ready());
    let mut trial = task::spawn(service.call(grpc_request()));
    assert_pending!(trial.poll());
    assert!(handle.next_request().await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_trial_cancelled_before_its_headers_gives_its_slot_back() {
    let (circuit, mut service, mut handle) = open().await;
    handle.allow(2);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_ready_ok!(service.poll_ready());
    let mut trial = task::spawn(service.call(grpc_request()));
    assert_pending!(trial.poll());
    assert!(handle.next_request().await.is_some());
    drop(trial);
    assert_eq!(circuit.status().state, CircuitState::HalfOpen);
    exchange(&mut service, &mut handle, grpc_response([data(), trailers("0")])).await;
    assert_eq!(circuit.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_trial_never_polled_gives_its_slot_back() {
    let (circuit, mut service, mut handle) = open().await;
    handle.allow(2);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_ready_ok!(service.poll_ready());
    drop(service.call(grpc_request()));
    assert!(circuit.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_trial_cancelled_in_its_body_gives_its_slot_back() {
    let (circuit, mut service, mut handle) = open().await;
    handle.allow(2);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_ready_ok!(service.poll_ready());
    let mut trial = task::spawn(service.call(grpc_request()));
    assert_pending!(trial.poll());
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(grpc_response([data(), data(), trailers("0")]));
    let mut body = assert_ready_ok!(trial.poll()).into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    assert!(
        circuit.admit().is_err(),
        "the trial is under way until its body ends"
    );
    drop(body);
    exchange(&mut service, &mut handle, grpc_response([trailers("0")])).await;
    assert_eq!(circuit.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_body_dropped_after_its_trailers_has_had_its_say() {
    let (circuit, mut service, mut handle) = open().await;
    handle.allow(1);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_ready_ok!(service.poll_ready());
    let mut trial = task::spawn(service.call(grpc_request()));
    assert_pending!(trial.poll());
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(grpc_response([data(), trailers("0")]));
    let mut body = assert_ready_ok!(trial.poll()).into_body();
    while let Some(frame) = body.frame().await {
        if frame.unwrap().is_trailers() {
            break;
        }
    }
    assert_eq!(circuit.status().state, CircuitState::Closed);
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_trial_whose_body_nobody_reads_loses_its_slot_in_time() {
    let (circuit, mut service, mut handle) = open().await;
    handle.allow(2);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_ready_ok!(service.poll_ready());
    let mut trial = task::spawn(service.call(grpc_request()));
    assert_pending!(trial.poll());
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(grpc_response([data(), trailers("14")]));
    let forgotten = assert_ready_ok!(trial.poll()).into_body();
    tokio::time::advance(Duration::from_secs(30)).await;
    exchange(&mut service, &mut handle, grpc_response([trailers("0")])).await;
    assert_eq!(circuit.status().state, CircuitState::Closed);
    forgotten.collect().await.unwrap();
    assert_eq!(circuit.failures(), 0, "its late failure decides nothing");
}

#[tokio::test(start_paused = true)]
async fn a_late_success_from_before_the_break_decides_nothing() {
    let (circuit, mut service, mut handle) = spawn(policy());
    handle.allow(4);
    assert_ready_ok!(service.poll_ready());
    let mut slow = task::spawn(service.call(grpc_request()));
    assert_pending!(slow.poll());
    let (_, slow_reply) = handle.next_request().await.unwrap();
    fail(&mut service, &mut handle).await;
    fail(&mut service, &mut handle).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_ready_ok!(service.poll_ready());
    let mut trial = task::spawn(service.call(grpc_request()));
    assert_pending!(trial.poll());

    slow_reply.send_response(grpc_response([trailers("0")]));
    let slow = assert_ready_ok!(slow.poll());
    slow.into_body().collect().await.unwrap();
    assert_eq!(circuit.status().state, CircuitState::HalfOpen);

    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_error("cable cut");
    assert_ready_err!(trial.poll());
    assert_eq!(circuit.status().state, CircuitState::Open);
}
