//! Sending a call over the kept connection, within its deadline.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::Connection;
use super::connector::Address;
use super::details::drop_unreadable;
use crate::classify::is_grpc_answer;
use crate::deadline::{Deadline, TimedBody, TimedError};
use crate::error::{CallError, chain, find, was_not_processed};

/// A service that sends calls to one address. Always ready: it waits for a connection within the call, where the
/// deadline counts.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    target: Arc<str>,
    address: Arc<Address>,
    connection: Arc<Connection>,
    deadline: Duration,
}

/// How often a call that provably was not processed is sent again.
const MOST_RESENDS: u32 = 3;

pin_project! {
    /// A response's body whose errors say what happened to the call.
    #[derive(Debug)]
    pub(crate) struct EndpointBody {
        #[pin]
        inner: TimedBody<Incoming>,
        target: Arc<str>,
        deadline: Deadline,
    }
}

// === impl Endpoint ===

impl Endpoint {
    pub(crate) fn new(
        target: Arc<str>,
        address: Arc<Address>,
        connection: Arc<Connection>,
        deadline: Duration,
    ) -> Self {
        Self {
            target,
            address,
            connection,
            deadline,
        }
    }

    /// The same way to the server with another deadline.
    pub(crate) fn with_deadline(&self, deadline: Duration) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    async fn send(self, mut request: Request<Body>) -> Result<Response<EndpointBody>, CallError> {
        let deadline = Deadline::new(self.deadline, request.headers(), Instant::now());
        self.direct(&mut request)?;
        let mut at_least = 0;
        let mut resends = 0;
        loop {
            let (attempt, mut sender) = timeout_at(deadline.at, self.connection.live(at_least))
                .await
                .map_err(|_| self.late(deadline, false))?
                .map_err(|reason| CallError::NotConnected {
                    target: self.target.clone(),
                    reason,
                })?;
            deadline.pass_on(request.headers_mut());
            let sent = timeout_at(deadline.at, sender.try_send_request(request))
                .await
                .map_err(|_| self.late(deadline, true))?;
            let mut error = match sent {
                Ok(response) if deadline.explains(response.headers()) => {
                    return Err(self.late(deadline, true));
                }
                Ok(response)
                    if !response.headers().contains_key(Status::GRPC_STATUS)
                        && !is_grpc_answer(&response) =>
                {
                    return Err(CallError::NotGrpc {
                        target: self.target,
                        status: response.status(),
                    });
                }
                Ok(mut response) => {
                    drop_unreadable(response.headers_mut());
                    return Ok(response.map(|body| EndpointBody {
                        inner: TimedBody::new(body, deadline),
                        target: self.target,
                        deadline,
                    }));
                }
                Err(error) => error,
            };
            let unsent = error.take_message();
            let error = error.into_error();
            match unsent {
                // The connection ended before the call was on it.
                Some(unsent) if resends < MOST_RESENDS => {
                    resends += 1;
                    at_least = attempt + 1;
                    request = unsent;
                }
                Some(_) => {
                    let reason = chain(&error).into();
                    return Err(CallError::NotConnected {
                        target: self.target,
                        reason,
                    });
                }
                None => return Err(broken(&self.target, &error)),
            }
        }
    }

    /// Generated clients know paths only; HTTP/2 wants the scheme and the authority, too.
    fn direct(&self, request: &mut Request<Body>) -> Result<(), CallError> {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(self.address.scheme.clone());
        parts.authority = Some(self.address.authority.clone());
        *request.uri_mut() = Uri::from_parts(parts).map_err(|error| CallError::NotConnected {
            target: self.target.clone(),
            reason: error.to_string().into(),
        })?;
        *request.version_mut() = http::Version::HTTP_2;
        Ok(())
    }

    fn late(&self, deadline: Deadline, sent: bool) -> CallError {
        late(&self.target, deadline, sent)
    }
}

impl Service<Request<Body>> for Endpoint {
    type Response = Response<EndpointBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let sending = self.clone().send(request);
        Box::pin(async move { sending.await.map_err(CallError::into_status) })
    }
}

fn late(target: &Arc<str>, deadline: Deadline, sent: bool) -> CallError {
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
        Some(error) if was_not_processed(error) => CallError::NotProcessed { target, reason },
        _ => CallError::Broken { target, reason },
    }
}

// === impl EndpointBody ===

impl HttpBody for EndpointBody {
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
        this.inner.poll_frame(cx).map_ok(checked).map_err(|error| {
            let error = match error {
                TimedError::DeadlinePassed => late(target, deadline, true),
                TimedError::Inner(error) => broken(target, &error),
            };
            error.into_status()
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
