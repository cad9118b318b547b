//! The body that tells the circuit how a call ended.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::Permit;
use crate::BoxError;
use crate::classify::{Judge, Verdict};
use crate::error::CallError;

pin_project! {
    /// The body of a response within a circuit: the verdict falls at its end.
    ///
    /// A gRPC response that ends without a `grpc-status` ends here with an error. Dropped before its end, it says
    /// nothing about the service.
    #[derive(Debug)]
    pub struct JudgedBody<B> {
        #[pin]
        inner: B,
        // Until the verdict.
        permit: Option<Permit>,
        judge: Judge,
        ended: bool,
    }
}

// === impl JudgedBody ===

impl<B: Body> JudgedBody<B> {
    pub(crate) fn new(inner: B, mut permit: Option<Permit>, judge: Judge) -> Self {
        let mut ended = false;
        if let Some(verdict) = judge.at_headers(inner.is_end_stream()) {
            // A response that is known to be over bears no more news.
            ended = inner.is_end_stream();
            if let Some(permit) = permit.take() {
                permit.judge(&verdict);
            }
        }
        Self {
            inner,
            permit,
            judge,
            ended,
        }
    }
}

impl<B> Body for JudgedBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(this.inner.as_mut().poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref() {
                    *this.ended = true;
                    end(this.permit, &this.judge.at_trailers(trailers));
                } else if this.inner.is_end_stream()
                    && let Some(verdict) = this.judge.at_last_data()
                {
                    // A reader that knows the length may never ask for the end.
                    *this.ended = true;
                    end(this.permit, &verdict);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                *this.ended = true;
                let error = error.into();
                end(this.permit, &this.judge.at_error(&*error));
                Poll::Ready(Some(Err(error)))
            }
            None => {
                *this.ended = true;
                let Some(permit) = this.permit.take() else {
                    return Poll::Ready(None);
                };
                if let Some(verdict) = this.judge.at_last_data() {
                    permit.judge(&verdict);
                    return Poll::Ready(None);
                }
                let broken = CallError::Broken {
                    target: permit.circuit().name().clone(),
                    reason: "the response ended without a grpc-status".to_owned(),
                };
                permit.judge(&Verdict::failure("the response ended without a grpc-status"));
                Poll::Ready(Some(Err(Box::new(broken.into_status()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        // While the verdict is open, the inner body's word is not enough: its reader has to come for the rest.
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn end(permit: &mut Option<Permit>, verdict: &Verdict) {
    if let Some(permit) = permit.take() {
        permit.judge(verdict);
    }
}
