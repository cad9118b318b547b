//! What counts, and what the circuit makes of it.

use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use safelight_mesh::breaker::{BreakerLayer, Circuit, CircuitState, Door, Outcome, Policy};
use safelight_mesh::{CallFailure, failure_of};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tonic::Status;
use tower::Layer;
use tower_test::mock;

use crate::scripted::{
    Frames, Mock, data, exchange, fail, grpc_request, grpc_response, open, policy, spawn, trailers,
};

#[tokio::test(start_paused = true)]
async fn an_error_in_the_trailers_counts_though_the_headers_were_good() {
    let (circuit, mut service, mut handle) = spawn(policy());
    handle.allow(2);
    exchange(&mut service, &mut handle, grpc_response([data(), trailers("13")])).await;
    assert_eq!(circuit.failures(), 1);
    exchange(&mut service, &mut handle, grpc_response([data(), trailers("13")])).await;
    assert_eq!(circuit.status().state, CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn an_error_in_the_headers_of_a_response_without_a_body_counts() {
    let (circuit, mut service, mut handle) = spawn(policy());
    handle.allow(1);
    let mut response = grpc_response([]);
    response
        .headers_mut()
        .insert("grpc-status", "14".parse().unwrap());
    exchange(&mut service, &mut handle, response).await;
    assert_eq!(circuit.failures(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_ends_without_trailers_is_an_error_and_counts() {
    let (circuit, mut service, mut handle) = spawn(policy());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(grpc_request()));
    assert_pending!(call.poll());
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(grpc_response([data()]));
    let mut body = assert_ready_ok!(call.poll()).into_body();
    assert!(body.frame().await.unwrap().unwrap().is_data());
    assert!(!body.is_end_stream(), "there is still an error to be read");
    let error = body.frame().await.unwrap().unwrap_err();
    let status = error.downcast::<Status>().unwrap();
    assert_eq!(failure_of(&status), CallFailure::Broken);
    assert!(body.frame().await.is_none());
    assert_eq!(circuit.failures(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_after_good_headers_counts() {
    let (circuit, mut service, mut handle) = spawn(policy());
    handle.allow(1);
    exchange(
        &mut service,
        &mut handle,
        grpc_response([data(), Err("reset".into())]),
    )
    .await;
    assert_eq!(circuit.failures(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_plain_http_response_needs_no_trailers() {
    let (circuit, mut service, mut handle) = spawn(policy());
    handle.allow(1);
    circuit.admit().unwrap().end(Outcome::Failure, None);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(Request::new(())));
    assert_pending!(call.poll());
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(Response::new(Frames {
        frames: [data()].into(),
    }));
    let mut body = assert_ready_ok!(call.poll()).into_body();
    assert_eq!(circuit.failures(), 1, "not before the body has come");
    assert!(body.frame().await.unwrap().unwrap().is_data());
    // A reader that knows the length does not ask for the end.
    assert!(body.is_end_stream());
    assert_eq!(circuit.failures(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_fails_to_get_ready_counts() {
    let (circuit, mut service, mut handle) = spawn(policy());
    handle.send_error("no sockets");
    assert_ready_err!(service.poll_ready());
    assert_eq!(circuit.failures(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_heals_after_its_break_without_any_probe() {
    let (circuit, mut service, mut handle) = open().await;
    handle.allow(1);
    tokio::time::advance(Duration::from_millis(999)).await;
    assert!(circuit.admit().is_err());
    tokio::time::advance(Duration::from_millis(1)).await;
    exchange(&mut service, &mut handle, grpc_response([trailers("0")])).await;
    assert_eq!(circuit.status().state, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn all_services_of_a_layer_share_its_circuit() {
    let circuit = Circuit::new("test", policy());
    let layer = BreakerLayer::new(circuit.clone());
    let (mut one, mut one_handle) = mock::spawn_with(|inner: Mock| layer.layer(inner));
    let (mut other, mut other_handle) = mock::spawn_with(|inner: Mock| layer.layer(inner));
    one_handle.allow(1);
    other_handle.allow(1);
    fail(&mut one, &mut one_handle).await;
    fail(&mut other, &mut other_handle).await;
    assert_eq!(circuit.status().state, CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn watchers_see_a_circuit_open_with_the_reason() {
    let circuit = Circuit::new(
        "test",
        Policy {
            door: Door::Probe,
            ..policy()
        },
    );
    let mut watch = circuit.watch();
    circuit.admit().unwrap().end(Outcome::Failure, Some("first"));
    assert!(!watch.has_changed().unwrap());
    circuit.admit().unwrap().end(Outcome::Failure, Some("second"));
    let status = watch.borrow_and_update().clone();
    assert_eq!(status.state, CircuitState::Open);
    assert_eq!(status.last_failure.as_deref(), Some("second"));
    circuit.probe_passed(status.generation);
    assert_eq!(watch.borrow_and_update().state, CircuitState::HalfOpen);
    circuit.admit().unwrap().end(Outcome::Success, None);
    let status = watch.borrow_and_update().clone();
    assert_eq!((status.state, status.last_failure), (CircuitState::Closed, None));
}
