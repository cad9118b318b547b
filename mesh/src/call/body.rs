//! The body of a response, and what it holds on to until it ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::Slot;
use crate::balancer::InFlight;
use crate::breaker::JudgedBody;
use crate::grpc::{Code, Status};
use crate::trace::CallSpan;
use crate::transport::ExchangeBody;

pin_project! {
    /// The body of a response: judged at its end by the circuit of the endpoint that sent it. Until then the call
    /// counts as in flight.
    #[derive(Debug)]
    pub(crate) struct MeshBody {
        #[pin]
        inner: JudgedBody<ExchangeBody>,
        in_flight: Option<InFlight>,
        slot: Option<Slot>,
        span: CallSpan,
    }
}

// === impl MeshBody ===

impl MeshBody {
    pub(super) fn new(inner: JudgedBody<ExchangeBody>, in_flight: InFlight) -> Self {
        let ended = inner.is_end_stream();
        Self {
            inner,
            in_flight: (!ended).then_some(in_flight),
            slot: None,
            span: CallSpan::default(),
        }
    }

    /// Ends the span of the call with the body.
    pub(super) fn traced(mut self, mut span: CallSpan) -> Self {
        if self.inner.is_end_stream() {
            span.end(Code::Unknown);
        }
        self.span = span;
        self
    }

    /// Keeps the call's place among those in flight until the body has ended.
    pub(super) fn hold(mut self, slot: Slot) -> Self {
        self.slot = self.in_flight.is_some().then_some(slot);
        self
    }
}

impl HttpBody for MeshBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let frame = this.inner.as_mut().poll_frame(cx).map_err(Status::from_error);
        let over = match &frame {
            Poll::Pending => false,
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || this.inner.is_end_stream(),
        };
        if over {
            this.span.end(code_of(&frame));
            *this.in_flight = None;
            *this.slot = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What the last frame says of the call. Without trailers there is no word of the server.
fn code_of(last: &Poll<Option<Result<Frame<Bytes>, Status>>>) -> Code {
    match last {
        Poll::Ready(Some(Ok(frame))) => {
            let code = frame
                .trailers_ref()
                .and_then(|trailers| trailers.get(Status::GRPC_STATUS));
            code.map_or(Code::Unknown, |code| Code::from_bytes(code.as_bytes()))
        }
        Poll::Ready(Some(Err(status))) => status.code(),
        Poll::Ready(None) | Poll::Pending => Code::Unknown,
    }
}
