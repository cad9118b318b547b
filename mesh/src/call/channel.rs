//! The service that clients call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::Caller;
use crate::error::Failed;
use crate::grpc::{Body, Status};
use crate::target::Parts;

/// A service for clients that tonic generates. Cheap to clone.
///
/// It is always ready: whether a call can be made is decided when it is made. Errors are [`Status`]es whose
/// source is a [`CallError`](crate::CallError).
#[derive(Clone, Debug)]
pub struct MeshChannel {
    caller: Arc<Caller>,
    /// Keeps the target's tasks.
    _parts: Arc<Parts>,
}

/// A call under way.
///
/// Cancel safe: dropped, it resets the stream at the server and says nothing about it to the circuit.
pub struct MeshFuture {
    inner: Pin<Box<dyn Future<Output = Result<Response<Body>, Failed>> + Send>>,
}

// === impl MeshChannel ===

impl MeshChannel {
    pub(crate) fn new(caller: Arc<Caller>, parts: Arc<Parts>) -> Self {
        Self {
            caller,
            _parts: parts,
        }
    }
}

impl Service<Request<Body>> for MeshChannel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = MeshFuture;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        MeshFuture {
            inner: Box::pin(self.caller.clone().call(request)),
        }
    }
}

// === impl MeshFuture ===

impl Future for MeshFuture {
    type Output = Result<Response<Body>, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx).map_err(Failed::into_status)
    }
}

impl std::fmt::Debug for MeshFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeshFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Target;

    #[tokio::test]
    async fn a_call_under_way_takes_little_memory() {
        let target = Target::builder("test", "static:///127.0.0.1:1")
            .connect()
            .unwrap();
        let call = target.channel().call(Request::new(Body::empty()));
        let size = std::mem::size_of_val(&*call.inner);
        assert!(size <= 5_000, "{size} bytes");
    }
}
