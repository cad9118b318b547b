//! The body of a request that must not hold a stop up.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Body as _, Frame};
use tokio::sync::watch;

use super::phase::{Phase, reached};
use crate::grpc::{Body, Status};

/// A body that is over when its client says so, or the server stops.
struct UntilStop {
    inner: Body,
    /// `None` once the server stopped.
    stop: Option<BoxFuture<'static, ()>>,
}

/// Ends a request of health or reflection when the server stops. A client of reflection may stay for as long as it
/// likes, and reflection listens to it in a task of its own; with the end of the request both come to theirs.
pub(super) fn until_stop(body: Body, mut phases: watch::Receiver<Phase>) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::new(UntilStop {
        inner: body,
        stop: Some(Box::pin(async move {
            reached(&mut phases, Phase::Stopping).await;
        })),
    })
}

// === impl UntilStop ===

impl http_body::Body for UntilStop {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if let ready @ Poll::Ready(_) = Pin::new(&mut self.inner).poll_frame(cx) {
            return ready;
        }
        if let Some(stop) = &mut self.stop {
            ready!(stop.as_mut().poll(cx));
            self.stop = None;
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}
