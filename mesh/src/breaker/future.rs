//! The future of a call within a circuit.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use super::{JudgedBody, Permit};
use crate::BoxError;
use crate::classify::Expected;
use crate::error::CallError;

pin_project! {
    /// Resolves to the response, whose body carries the permit on where the verdict is still open.
    ///
    /// Cancel safe: dropped, it says nothing about the service and gives back a slot it held.
    #[derive(Debug)]
    pub struct BreakerFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<F> {
        Admitted {
            #[pin]
            inner: F,
            permit: Option<Permit>,
            expected: Expected,
        },
        Refused {
            refused: Option<CallError>,
        },
    }
}

// === impl BreakerFuture ===

impl<F> BreakerFuture<F> {
    pub(crate) fn admitted(inner: F, permit: Permit, expected: Expected) -> Self {
        Self {
            kind: Kind::Admitted {
                inner,
                permit: Some(permit),
                expected,
            },
        }
    }

    pub(crate) fn refused(refused: CallError) -> Self {
        Self {
            kind: Kind::Refused {
                refused: Some(refused),
            },
        }
    }
}

impl<F, B, E> Future for BreakerFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
    B: http_body::Body,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<JudgedBody<B>>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Refused { refused } => {
                // As with any future, polling again after the end is the caller's mistake.
                debug_assert!(refused.is_some(), "polled after it was ready");
                match refused.take() {
                    Some(refused) => Poll::Ready(Err(Box::new(refused.into_status()))),
                    None => Poll::Pending,
                }
            }
            KindProjection::Admitted {
                inner,
                permit,
                expected,
            } => {
                let result = ready!(inner.poll(cx));
                let permit = permit.take();
                match result {
                    Ok(response) => {
                        let judge = expected.response(&response);
                        Poll::Ready(Ok(response.map(|body| JudgedBody::new(body, permit, judge))))
                    }
                    Err(error) => {
                        let error = error.into();
                        if let Some(permit) = permit {
                            permit.judge(&expected.error(&*error));
                        }
                        Poll::Ready(Err(error))
                    }
                }
            }
        }
    }
}
