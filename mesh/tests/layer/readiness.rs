//! What holds between `poll_ready` and `call`.

use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use safelight_mesh::BoxError;
use safelight_mesh::breaker::{BreakerLayer, Circuit, CircuitState, Outcome};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{Layer, Service};

use crate::scripted::{Frames, assert_refused, grpc_request, grpc_response, open, policy, spawn, trailers};

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
async fn callers_of_an_open_circuit_are_refused_by_one_poll_each() {
    let (_, service, mut handle) = open().await;
    handle.allow(0);
    let mut polls = 0;
    for _ in 0..1_000 {
        let mut service = service.clone().into_inner();
        let mut caller = task::spawn(async move {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(grpc_request()).await
        });
        loop {
            polls += 1;
            if let Poll::Ready(result) = caller.poll() {
                assert_refused(result.unwrap_err());
                break;
            }
            assert!(polls < 10_000, "callers spin");
        }
    }
    assert_eq!(polls, 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_for_the_inner_service_is_polled_when_that_is_ready_and_not_before() {
    let (circuit, service, mut handle) = spawn(policy());
    handle.allow(0);
    let mut waiting = service.clone();
    assert_pending!(waiting.poll_ready());
    for _ in 0..100 {
        circuit.admit().unwrap().end(Outcome::Overload, None);
        tokio::time::advance(Duration::from_millis(10)).await;
        assert!(!waiting.is_woken(), "nothing has changed for it");
    }
    handle.allow(1);
    assert!(waiting.is_woken());
    assert_ready_ok!(waiting.poll_ready());
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
