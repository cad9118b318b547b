//! What every call passes before it reaches its handler.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Extensions, Request, Response};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::Instrument;

use super::answer::{self, Surroundings};
use super::call::{Call, Slot};
use super::deadline::{self, Deadline};
use super::method::Methods;
use super::phase::Phase;
use super::{panic, question};
use crate::BoxError;
use crate::deadline::of_headers;
use crate::grpc::{Body, Code, MetadataValue, Routes, Status};
use crate::trace;

/// Milliseconds to wait before a call is made again (gRPC's A6, "pushback").
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The gate of a server, in front of all its services.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) methods: Methods,
    pub(super) routes: Routes,
    pub(super) slots: Arc<Semaphore>,
    pub(super) max_in_flight: usize,
    pub(super) shed_pushback: Option<Duration>,
    /// Counts the calls that the drain waits for.
    pub(super) running: TaskTracker,
    pub(super) phases: watch::Receiver<Phase>,
}

/// The gate as one connection sees it.
#[derive(Clone, Debug)]
pub(super) struct Entrance {
    pub(super) gate: Arc<Gate>,
    /// What is known of the other end, for the extensions of each request.
    pub(super) peer: Extensions,
}

// === impl Gate ===

impl Gate {
    async fn serve(self: Arc<Self>, mut request: Request<Body>, peer: Extensions) -> Response<Body> {
        let method = self.methods.of_path(request.uri().path()).clone();
        let headers = request.headers();
        let trace = match trace::Context::from_headers(headers) {
            Some(caller) => caller.child(),
            // Whoever watches over a service would fill a collector otherwise.
            None if method.exempt => trace::Context::unsampled_root(),
            None => trace::Context::root(),
        };
        let span = tracing::info_span!(
            "call",
            service = method.service,
            method = method.name,
            trace_id = %trace.trace_id(),
            span_id = %trace.span_id(),
            parent_id = trace.parent_id().map(tracing::field::display),
        );
        let around = Surroundings {
            // A time beyond what a clock can tell is none.
            deadline: of_headers(headers).and_then(|allowed| Instant::now().checked_add(allowed)),
            trace,
            span,
        };
        let extensions = request.extensions_mut();
        extensions.extend(peer);
        extensions.insert(around.trace.clone());
        if let Some(at) = around.deadline {
            extensions.insert(Deadline::new(at));
        }
        let recorded = trace::CallSpan::server(&around.trace, &method.service, &method.name);
        let handled = self.handle(Call::new(method, recorded), around.clone(), request);
        trace::scope(around.trace, deadline::scope(around.deadline, handled))
            .instrument(around.span)
            .await
    }

    async fn handle(&self, mut call: Call, around: Surroundings, request: Request<Body>) -> Response<Body> {
        if let Err(refusal) = self.admit(&mut call, around.deadline) {
            call.end(refusal.code());
            return refusal.into_http();
        }
        let request = match call.method.exempt {
            true => request.map(|body| question::until_stop(body, self.phases.clone())),
            false => request,
        };
        // The handler is called within the future, so that all of its code runs under the guard.
        let handler = AssertUnwindSafe(self.routes.clone().oneshot(request)).catch_unwind();
        let answer = match around.deadline {
            Some(at) => timeout_at(at, handler).await,
            None => Ok(handler.await),
        };
        let failure = match answer {
            Ok(Ok(Ok(response))) => return answer::watched(response, call, around),
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(panic)) => panic::status(&call.method, &*panic),
            Err(_elapsed) => answer::out_of_time(),
        };
        call.end(failure.code());
        failure.into_http()
    }

    /// Refuses what cannot be done: for want of time, or of room.
    fn admit(&self, call: &mut Call, deadline: Option<Instant>) -> Result<(), Status> {
        if let Some(at) = deadline {
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Status::deadline_exceeded(
                    "the deadline had passed when the call came in",
                ));
            }
            if let Err(late) = call.method.judge(left) {
                call.method.too_late.increment(1);
                return Err(Status::deadline_exceeded(format!(
                    "cannot be done in the {} ms left; the usual time is {} ms",
                    left.as_millis(),
                    late.usual.as_millis()
                )));
            }
        }
        if call.method.exempt {
            return Ok(());
        }
        let Ok(permit) = self.slots.clone().try_acquire_owned() else {
            call.method.shed.increment(1);
            return Err(self.shed());
        };
        call.hold(Slot {
            _permit: permit,
            _running: self.running.token(),
        });
        Ok(())
    }

    fn shed(&self) -> Status {
        let mut status = Status::new(
            Code::ResourceExhausted,
            format!(
                "{} calls are in flight, and no more are taken",
                self.max_in_flight
            ),
        );
        if let Some(wait) = self.shed_pushback {
            let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            status
                .metadata_mut()
                .insert(PUSHBACK, MetadataValue::from(millis));
        }
        status
    }
}

// === impl Entrance ===

impl<B> hyper::service::Service<Request<B>> for Entrance
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, request: Request<B>) -> Self::Future {
        let served = self.gate.clone().serve(request.map(Body::new), self.peer.clone());
        Box::pin(served.map(Ok))
    }
}
