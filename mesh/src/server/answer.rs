//! The body of an answer: timed, watched for its status, and proof against panics.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body as _, Frame};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tracing::Span;

use super::call::{Call, code_in};
use super::{deadline, panic};
use crate::grpc::{Body, Code, Status};
use crate::trace;

/// What the code that answers a call runs in.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) deadline: Option<Instant>,
    pub(super) trace: trace::Context,
    pub(super) span: Span,
}

pin_project! {
    /// A body that ends with trailers of its own where the handler's panics or its time is up.
    pub(super) struct Answer {
        // `None` once it is over.
        inner: Option<Body>,
        call: Call,
        around: Surroundings,
        #[pin]
        sleep: Option<Sleep>,
    }
}

/// Watches over the rest of an answer whose headers are there.
pub(super) fn watched(response: Response<Body>, mut call: Call, around: Surroundings) -> Response<Body> {
    let code = code_in(response.headers());
    if code.is_some() || response.body().is_end_stream() {
        // Nobody polls a body that has nothing; and the status of one that should is settled.
        call.answered(code.unwrap_or(Code::Unknown));
    }
    if response.body().is_end_stream() {
        return response;
    }
    response.map(|inner| {
        Body::new(Answer {
            inner: Some(inner),
            call,
            sleep: around.deadline.map(tokio::time::sleep_until),
            around,
        })
    })
}

/// What a call is answered whose time is up.
pub(super) fn out_of_time() -> Status {
    Status::deadline_exceeded("the deadline passed while the call was worked on")
}

// === impl Surroundings ===

impl Surroundings {
    fn run<R>(&self, step: impl FnOnce() -> R) -> R {
        let _entered = self.span.enter();
        trace::sync_scope(self.trace.clone(), || deadline::sync_scope(self.deadline, step))
    }

    fn time_is_up(&self) -> bool {
        self.deadline.is_some_and(|at| Instant::now() >= at)
    }
}

// === impl Answer ===

impl Answer {
    /// Drops what is left of the handler, and says why in its place.
    fn end_with(self: Pin<&mut Self>, status: Status) -> Option<Result<Frame<Bytes>, Status>> {
        let this = self.project();
        let inner = this.inner.take();
        if let Err(panic) = panic::caught(|| this.around.run(|| drop(inner))) {
            panic::status(&this.call.method, &*panic);
        }
        this.call.end(status.code());
        let mut trailers = HeaderMap::new();
        Some(match status.add_header(&mut trailers) {
            Ok(()) => Ok(Frame::trailers(trailers)),
            Err(unwritable) => Err(unwritable),
        })
    }

    /// Looks for the end in what the handler gave.
    fn inspect(self: Pin<&mut Self>, frame: &Frame<Bytes>) {
        let this = self.project();
        if let Some(trailers) = frame.trailers_ref() {
            this.call.answered(code_in(trailers).unwrap_or(Code::Unknown));
            *this.inner = None;
        } else if this.inner.as_ref().is_some_and(Body::is_end_stream) {
            this.call.end(Code::Unknown);
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.as_mut().project();
        let Some(inner) = this.inner.as_mut() else {
            return Poll::Ready(None);
        };
        let step = || panic::caught(|| Pin::new(inner).poll_frame(cx));
        match this.around.run(step) {
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                // A stream that always has more must end, too.
                if frame.is_data() && this.around.time_is_up() {
                    return Poll::Ready(self.end_with(out_of_time()));
                }
                self.inspect(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(Poll::Ready(Some(Err(status)))) => {
                this.call.end(status.code());
                *this.inner = None;
                Poll::Ready(Some(Err(status)))
            }
            Ok(Poll::Ready(None)) => {
                this.call.end(Code::Unknown);
                *this.inner = None;
                Poll::Ready(None)
            }
            Ok(Poll::Pending) => {
                let sleep = this.sleep.as_pin_mut();
                if sleep.is_some_and(|sleep| sleep.poll(cx).is_ready()) {
                    return Poll::Ready(self.end_with(out_of_time()));
                }
                Poll::Pending
            }
            Err(panic) => {
                let status = panic::status(&this.call.method, &*panic);
                Poll::Ready(self.end_with(status))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
