//! One try of a call over one connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::timeout_at;

use super::connector::Sender;
use super::details::drop_unreadable;
use crate::call::ReplayBody;
use crate::classify::is_grpc_answer;
use crate::deadline::{Deadline, TimedBody, TimedError};
use crate::error::{CallError, chain, find, was_not_processed};
use crate::grpc::Status;

pin_project! {
    /// A response's body whose errors say what happened to the call.
    #[derive(Debug)]
    pub(crate) struct ExchangeBody {
        // Without one, there is nothing more to come.
        #[pin]
        inner: Option<TimedBody<Incoming>>,
        target: Arc<str>,
        deadline: Deadline,
    }
}

/// Sends a request that is addressed already, and waits for the headers of its response.
///
/// Cancel safe: dropped, it resets the stream.
///
/// # Errors
/// What happened to the call; [`CallError::ConnectionClosed`] where it came too late to be sent.
pub(super) async fn exchange(
    target: &Arc<str>,
    mut sender: Sender,
    mut request: Request<ReplayBody>,
    deadline: Deadline,
) -> Result<Response<ExchangeBody>, CallError> {
    deadline.pass_on(request.headers_mut());
    let sent = timeout_at(deadline.at, sender.try_send_request(request))
        .await
        .map_err(|_| late(target, deadline, true))?;
    let mut response = match sent {
        Ok(response) => response,
        Err(mut error) => {
            // hyper gives back what the connection ended before.
            let unsent = error.take_message().is_some();
            let error = error.into_error();
            if unsent {
                let reason = chain(&error).into();
                let target = target.clone();
                return Err(CallError::ConnectionClosed { target, reason });
            }
            return Err(broken(target, &error));
        }
    };
    if deadline.explains(response.headers()) {
        return Err(late(target, deadline, true));
    }
    if !response.headers().contains_key(Status::GRPC_STATUS) && !is_grpc_answer(&response) {
        return Err(CallError::NotGrpc {
            target: target.clone(),
            status: response.status(),
        });
    }
    drop_unreadable(response.headers_mut());
    Ok(response.map(|body| ExchangeBody {
        inner: Some(TimedBody::new(body, deadline)),
        target: target.clone(),
        deadline,
    }))
}

pub(crate) fn late(target: &Arc<str>, deadline: Deadline, sent: bool) -> CallError {
    CallError::DeadlinePassed {
        target: target.clone(),
        allowed: deadline.allowed,
        short: deadline.short,
        sent,
    }
}

fn broken(target: &Arc<str>, error: &hyper::Error) -> CallError {
    let reason = chain(error);
    let target = target.clone();
    match find::<h2::Error>(error) {
        Some(error) if was_not_processed(error) => match error.reason() {
            Some(h2::Reason::NO_ERROR) => CallError::ConnectionClosed {
                target,
                reason: reason.into(),
            },
            _ => CallError::NotProcessed { target, reason },
        },
        _ => CallError::Broken { target, reason },
    }
}

// === impl ExchangeBody ===

impl ExchangeBody {
    /// The body of an answer that is all in its headers and that no server has sent.
    pub(crate) fn none(target: &Arc<str>, deadline: Deadline) -> Self {
        Self {
            inner: None,
            target: target.clone(),
            deadline,
        }
    }
}

impl HttpBody for ExchangeBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let (target, deadline) = (&*this.target, *this.deadline);
        let checked = |mut frame: Frame<Bytes>| {
            if let Some(trailers) = frame.trailers_mut() {
                drop_unreadable(trailers);
            }
            frame
        };
        let Some(inner) = this.inner.as_pin_mut() else {
            return Poll::Ready(None);
        };
        inner.poll_frame(cx).map_ok(checked).map_err(|error| {
            let error = match error {
                TimedError::DeadlinePassed => late(target, deadline, true),
                TimedError::Inner(error) => broken(target, &error),
            };
            error.into_status()
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(|inner| inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}
