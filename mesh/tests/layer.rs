//! The breaker as a tower layer: `poll_ready` and `call` driven by hand, in paused time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use safelight_mesh::breaker::{BreakerLayer, BreakerService, Circuit, CircuitState, Door, Outcome, Policy};
use safelight_mesh::{BoxError, CallFailure, failure_of};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tonic::Status;
use tower::{Layer, Service};
use tower_test::mock;

type Mock = mock::Mock<Request<()>, Response<Frames>>;
type Handle = mock::Handle<Request<()>, Response<Frames>>;
type Breaking = BreakerService<Mock>;

/// A body of these frames.
#[derive(Debug, Default)]
struct Frames {
    frames: VecDeque<Result<Frame<Bytes>, BoxError>>,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }
}

fn data() -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\0")))
}

fn trailers(code: &str) -> Result<Frame<Bytes>, BoxError> {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", code.parse().unwrap());
    Ok(Frame::trailers(map))
}

fn grpc_response(frames: impl IntoIterator<Item = Result<Frame<Bytes>, BoxError>>) -> Response<Frames> {
    let body = Frames {
        frames: frames.into_iter().collect(),
    };
    Response::builder()
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap()
}

fn grpc_request() -> Request<()> {
    Request::builder()
        .header("content-type", "application/grpc")
        .body(())
        .unwrap()
}

fn policy() -> Policy {
    Policy {
        consecutive_failures: 2,
        open_jitter: 0.0,
        ..Policy::default()
    }
}

fn spawn(policy: Policy) -> (Circuit, mock::Spawn<Breaking>, Handle) {
    let circuit = Circuit::new("test", policy);
    let layer = BreakerLayer::new(circuit.clone());
    let (service, handle) = mock::spawn_with(|inner: Mock| layer.layer(inner));
    (circuit, service, handle)
}

/// A call that is answered with this response, whose body is then read to its end.
async fn exchange(service: &mut mock::Spawn<Breaking>, handle: &mut Handle, response: Response<Frames>) {
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(grpc_request()));
    assert_pending!(call.poll());
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(response);
    let response = assert_ready_ok!(call.poll());
    let _ = response.into_body().collect().await;
}

async fn fail(service: &mut mock::Spawn<Breaking>, handle: &mut Handle) {
    exchange(service, handle, grpc_response([trailers("14")])).await;
}

async fn open() -> (Circuit, mock::Spawn<Breaking>, Handle) {
    let (circuit, mut service, mut handle) = spawn(policy());
    handle.allow(2);
    fail(&mut service, &mut handle).await;
    fail(&mut service, &mut handle).await;
    assert_eq!(circuit.status().state, CircuitState::Open);
    (circuit, service, handle)
}

fn assert_refused(error: BoxError) {
    let status = error
        .downcast::<Status>()
        .expect("a status, as tonic's clients look for one");
    assert_eq!(failure_of(&status), CallFailure::NotSent);
}

#[tokio::test(start_paused = true)]
async fn readiness_is_the_inner_services_while_the_circuit_is_closed() {
    let (_, mut service, mut handle) = spawn(policy());
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_rejects_without_calling_the_endpoint() {
    let (_, mut service, mut handle) = open().await;
    handle.allow(0);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(grpc_request()));
    assert_refused(assert_ready_err!(call.poll()));
    assert_pending!(handle.poll_request());
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_is_ready_at_once_and_wakes_nobody() {
    let (_, mut service, mut handle) = open().await;
    handle.allow(0);
    for _ in 0..100 {
        assert_ready_ok!(service.poll_ready());
        assert!(
            !service.is_woken(),
            "a service that wakes its own task makes it spin"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_after_an_open_poll_ready_is_refused_even_if_the_break_has_ended_meanwhile() {
    let (circuit, mut service, mut handle) = open().await;
    handle.allow(0);
    assert_ready_ok!(service.poll_ready());
    tokio::time::advance(Duration::from_secs(1)).await;
    // The inner service was not asked whether it is ready; calling it would be against the contract.
    let mut call = task::spawn(service.call(grpc_request()));
    assert_refused(assert_ready_err!(call.poll()));
    assert_eq!(circuit.status().state, CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_after_a_closed_poll_ready_is_refused_if_the_circuit_has_opened_meanwhile() {
    let (circuit, mut service, mut handle) = spawn(policy());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    for _ in 0..2 {
        circuit.admit().unwrap().end(Outcome::Failure, None);
    }
    let mut call = task::spawn(service.call(grpc_request()));
    assert_refused(assert_ready_err!(call.poll()));
    assert_pending!(handle.poll_request());
}

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

/// A service that is ready once a `poll_ready`, loses that on clone, and panics if it is called unready.
#[derive(Debug, Default)]
struct Strict {
    ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<Frames>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Response<Frames>, BoxError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "called without having been ready"
        );
        let code = request
            .headers()
            .get("x-answer")
            .map_or("0", |code| code.to_str().unwrap());
        std::future::ready(Ok(grpc_response([trailers(code)])))
    }
}

#[tokio::test(start_paused = true)]
async fn the_inner_service_is_never_called_unready_whatever_the_circuit_does() {
    let circuit = Circuit::new("test", policy());
    let mut service = BreakerLayer::new(circuit.clone()).layer(Strict::default());
    let mut seen = std::collections::HashSet::new();
    for step in 0_u32..500 {
        let mut clone = service.clone();
        let user = if step % 3 == 0 { &mut clone } else { &mut service };
        std::future::poll_fn(|cx| user.poll_ready(cx)).await.unwrap();
        // The circuit may change between the two, by time and by the results of others.
        tokio::time::advance(Duration::from_millis(u64::from(step % 7) * 100)).await;
        if step % 11 == 0 {
            let _ = circuit.admit().map(|permit| permit.end(Outcome::Failure, None));
        }
        let mut request = grpc_request();
        let answer = if step % 5 < 3 { "14" } else { "0" };
        request.headers_mut().insert("x-answer", answer.parse().unwrap());
        if let Ok(response) = user.call(request).await {
            seen.insert(circuit.status().state.as_str());
            let _ = response.into_body().collect().await;
        }
        seen.insert(circuit.status().state.as_str());
    }
    assert_eq!(seen.len(), 3, "the run went through all states: {seen:?}");
}
