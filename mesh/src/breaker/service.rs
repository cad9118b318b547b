//! The service: asks the circuit before every call.

use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::time::Instant;
use tower::Service;

use super::{BreakerFuture, Circuit, JudgedBody, Outcome, Refusal};
use crate::BoxError;
use crate::classify::Classifier;

/// A service within a [`Circuit`].
///
/// While the circuit refuses, `poll_ready` is `Ready` and the call fails at once: an error of `poll_ready` would
/// be final to tower, and waiting there would keep callers from doing something else. A refused call is a boxed
/// [`tonic::Status`] (`UNAVAILABLE`) whose source is a [`CallError`](crate::CallError).
///
/// An inner service that fails in `poll_ready` counts as a failed call.
#[derive(Debug)]
pub struct BreakerService<S> {
    inner: S,
    circuit: Circuit,
    classifier: Classifier,
    /// Set between a `poll_ready` that found the circuit refusing and the `call` after it. The inner service was
    /// not asked whether it is ready, so it must not be called, even if the circuit has changed meanwhile.
    refusal: Option<Refusal>,
}

// === impl BreakerService ===

impl<S> BreakerService<S> {
    pub(crate) fn new(inner: S, circuit: Circuit, classifier: Classifier) -> Self {
        Self {
            inner,
            circuit,
            classifier,
            refusal: None,
        }
    }
}

impl<S: Clone> Clone for BreakerService<S> {
    fn clone(&self) -> Self {
        // Neither the inner readiness nor the refusal is the clone's.
        Self::new(self.inner.clone(), self.circuit.clone(), self.classifier.clone())
    }
}

impl<S, A, B> Service<Request<A>> for BreakerService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    type Response = Response<JudgedBody<B>>;
    type Error = BoxError;
    type Future = BreakerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.refusal = self.circuit.would_admit().err();
        if self.refusal.is_some() {
            return Poll::Ready(Ok(()));
        }
        let ready = std::task::ready!(self.inner.poll_ready(cx));
        Poll::Ready(ready.map_err(|error| {
            let error = error.into();
            if let Ok(permit) = self.circuit.admit() {
                let verdict = self.classifier.of_error(&*error);
                debug_assert_ne!(verdict.outcome, Outcome::Success);
                permit.judge(&verdict);
            }
            error
        }))
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        if let Some(refusal) = self.refusal.take() {
            return BreakerFuture::refused(self.circuit.refused(refusal));
        }
        // The slot of a half-open circuit is taken here and lives in the future, so a service that is ready and
        // never called holds nothing.
        match self.circuit.admit_at(Instant::now()) {
            Ok(permit) => {
                let expected = self.classifier.expect(&request);
                BreakerFuture::admitted(self.inner.call(request), permit, expected)
            }
            Err(refused) => BreakerFuture::refused(refused),
        }
    }
}
