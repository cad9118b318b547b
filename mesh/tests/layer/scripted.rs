//! A breaker around a service that does what a test tells it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use safelight_mesh::breaker::{BreakerLayer, BreakerService, Circuit, CircuitState, Policy};
use safelight_mesh::{BoxError, CallFailure, failure_of};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tonic::Status;
use tower::Layer;
use tower_test::mock;

pub(crate) type Mock = mock::Mock<Request<()>, Response<Frames>>;
pub(crate) type Handle = mock::Handle<Request<()>, Response<Frames>>;
pub(crate) type Breaking = BreakerService<Mock>;

/// A body of these frames.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    pub(crate) frames: VecDeque<Result<Frame<Bytes>, BoxError>>,
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

pub(crate) fn data() -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\0")))
}

pub(crate) fn trailers(code: &str) -> Result<Frame<Bytes>, BoxError> {
    let mut map = HeaderMap::new();
    map.insert("grpc-status", code.parse().unwrap());
    Ok(Frame::trailers(map))
}

pub(crate) fn grpc_response(
    frames: impl IntoIterator<Item = Result<Frame<Bytes>, BoxError>>,
) -> Response<Frames> {
    let body = Frames {
        frames: frames.into_iter().collect(),
    };
    Response::builder()
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap()
}

pub(crate) fn grpc_request() -> Request<()> {
    Request::builder()
        .header("content-type", "application/grpc")
        .body(())
        .unwrap()
}

pub(crate) fn policy() -> Policy {
    Policy {
        consecutive_failures: 2,
        open_jitter: 0.0,
        ..Policy::default()
    }
}

pub(crate) fn spawn(policy: Policy) -> (Circuit, mock::Spawn<Breaking>, Handle) {
    let circuit = Circuit::new("test", policy);
    let layer = BreakerLayer::new(circuit.clone());
    let (service, handle) = mock::spawn_with(|inner: Mock| layer.layer(inner));
    (circuit, service, handle)
}

/// A call that is answered with this response, whose body is then read to its end.
pub(crate) async fn exchange(
    service: &mut mock::Spawn<Breaking>,
    handle: &mut Handle,
    response: Response<Frames>,
) {
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(grpc_request()));
    assert_pending!(call.poll());
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(response);
    let response = assert_ready_ok!(call.poll());
    let _ = response.into_body().collect().await;
}

pub(crate) async fn fail(service: &mut mock::Spawn<Breaking>, handle: &mut Handle) {
    exchange(service, handle, grpc_response([trailers("14")])).await;
}

pub(crate) async fn open() -> (Circuit, mock::Spawn<Breaking>, Handle) {
    let (circuit, mut service, mut handle) = spawn(policy());
    handle.allow(2);
    fail(&mut service, &mut handle).await;
    fail(&mut service, &mut handle).await;
    assert_eq!(circuit.status().state, CircuitState::Open);
    (circuit, service, handle)
}

pub(crate) fn assert_refused(error: BoxError) {
    let status = error
        .downcast::<Status>()
        .expect("a status, as tonic's clients look for one");
    assert_eq!(failure_of(&status), CallFailure::NotSent);
}
