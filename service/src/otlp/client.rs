//! The HTTP client that the exporter sends with.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

/// A collector answers with a few bytes; what is longer comes from something else.
const LONGEST_ANSWER: usize = 64 << 10;

/// Sends from a runtime for callers that have none: the SDK's batch processor has a thread of its own.
#[derive(Clone, Debug)]
pub(super) struct Client {
    runtime: Handle,
    timeout: Duration,
    inner: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
}

// === impl Client ===

impl Client {
    /// Gives a request up after `timeout`, its answer included.
    pub(super) fn new(runtime: Handle, timeout: Duration) -> Self {
        let inner = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
        Self {
            runtime,
            timeout,
            inner,
        }
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let response = self.inner.request(request.map(Full::new)).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }
}

#[tonic::async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.clone();
        // Within the task: a timer is made where there is a runtime.
        let sent = async move { tokio::time::timeout(client.timeout, client.send(request)).await };
        self.runtime.spawn(sent).await??
    }
}
