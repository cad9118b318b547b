//! A service over one connection, past the circuit and the choice: for probes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tokio::time::Instant;
use tower::Service;

use super::Origin;
use super::connector::Sender;
use super::exchange::{ExchangeBody, exchange};
use crate::call::ReplayBody;
use crate::deadline::Deadline;
use crate::error::CallError;
use crate::grpc::{Body, Status};

/// Sends calls over one connection. Always ready.
#[derive(Clone, Debug)]
pub(crate) struct Direct {
    sender: Sender,
    origin: Arc<Origin>,
    /// What one call may take, to the end of its body.
    limit: Duration,
}

/// For calls that follow something for as long as the connection lives.
const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 60 * 60);

// === impl Direct ===

impl Direct {
    pub(crate) fn new(sender: Sender, origin: Arc<Origin>, limit: Duration) -> Self {
        Self {
            sender,
            origin,
            limit,
        }
    }

    pub(crate) fn unlimited(sender: Sender, origin: Arc<Origin>) -> Self {
        Self::new(sender, origin, UNLIMITED)
    }
}

impl Service<Request<Body>> for Direct {
    type Response = Response<ExchangeBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        self.origin.direct(&mut request);
        let deadline = Deadline::new(self.limit, request.headers(), Instant::now());
        let sender = self.sender.clone();
        Box::pin(async move {
            let request = request.map(ReplayBody::once);
            exchange(&"probe".into(), sender, request, deadline)
                .await
                .map_err(CallError::into_status)
        })
    }
}
