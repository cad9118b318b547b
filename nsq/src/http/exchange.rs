//! One request, one connection, one answer.
//!
//! These servers are asked seldom, so that a connection kept open would mostly be found dead.

use std::future::Future;
use std::pin::pin;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use super::{HttpConfig, HttpError};
use crate::error::ConfigError;
use crate::transport::Transport;

/// Bytes of a refusal that are kept.
const REASON_LEN: usize = 200;

/// A server that is asked over HTTP.
#[derive(Debug, Clone)]
pub(super) struct HttpServer {
    base: Url,
    /// For [`TcpStream::connect`].
    address: String,
    config: HttpConfig,
}

// === impl HttpServer ===

impl HttpServer {
    /// `address` is `host:port`, or `http://host:port` or `https://host:port` with or without a path.
    pub(super) fn new(address: &str, config: HttpConfig, field: &'static str) -> Result<Self, ConfigError> {
        let scheme = if config.is_encrypted() { "https" } else { "http" };
        let invalid = ConfigError {
            field,
            expected: "host:port or http://host:port, or https://host:port and a TLS configuration",
        };
        let url = if address.contains("://") {
            address.to_owned()
        } else {
            format!("{scheme}://{address}")
        };
        let Ok(base) = Url::parse(&url) else {
            return Err(invalid);
        };
        let (Some(host), Some(port)) = (base.host_str(), base.port_or_known_default()) else {
            return Err(invalid);
        };
        if base.scheme() != scheme || host.is_empty() {
            return Err(invalid);
        }
        let address = format!("{host}:{port}");
        if config.timeout.is_zero() {
            return Err(ConfigError {
                field: "timeout",
                expected: "more than nothing",
            });
        }
        Ok(Self {
            base,
            address,
            config,
        })
    }

    pub(super) fn url(&self) -> &str {
        self.base.as_str()
    }

    /// Asks, and gives the body of an answer of status 200.
    ///
    /// Cancel safe in that nothing is left behind; the server may have done what was asked.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Bytes, HttpError> {
        let request = self.request(method, path, query)?;
        match timeout(self.config.timeout, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(HttpError::Timeout(self.config.timeout)),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Request<Empty<Bytes>>, HttpError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.query_pairs_mut().clear().extend_pairs(query);
        let target = match url.query() {
            Some(query) if !query.is_empty() => format!("{}?{query}", url.path()),
            _ => url.path().to_owned(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, url.authority())
            // An nsqd of before 1.0 answers without a wrapping where it is asked so.
            .header(header::ACCEPT, "application/vnd.nsq; version=1.0")
            .header(header::CONNECTION, "close");
        if let Some(token) = &self.config.bearer_token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(Empty::new()).map_err(HttpError::unreachable)
    }

    async fn connect(&self) -> Result<Box<dyn Transport>, HttpError> {
        let stream = TcpStream::connect(&self.address).await;
        let stream: Box<dyn Transport> = Box::new(stream.map_err(HttpError::unreachable)?);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.config.tls {
            let encrypted = tls.connect(stream, &self.address).await;
            return encrypted.map_err(HttpError::unreachable);
        }
        Ok(stream)
    }

    async fn exchange(&self, request: Request<Empty<Bytes>>) -> Result<Bytes, HttpError> {
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(HttpError::unreachable)?;
        let limit = self.config.max_answer;
        let answer = async move {
            let response = sender
                .send_request(request)
                .await
                .map_err(HttpError::unreachable)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), limit).collect().await;
            let body = body.map_err(|_| HttpError::Incomplete { limit })?.to_bytes();
            match status {
                StatusCode::OK => Ok(body),
                refused => Err(refusal(refused, &body)),
            }
        };
        alongside(answer, connection).await
    }
}

/// Runs `main` to its end, and `other` as far as it goes meanwhile.
async fn alongside<T>(main: impl Future<Output = T>, other: impl Future) -> T {
    let mut main = pin!(main);
    tokio::select! {
        output = &mut main => return output,
        _ = other => {}
    }
    // The connection has ended; what `main` still waits for is there, or will never be, and it knows.
    main.await
}

/// nsqd says why in `{"message":"TOPIC_NOT_FOUND"}`; anything else is kept as it is.
fn refusal(status: StatusCode, body: &[u8]) -> HttpError {
    #[derive(serde::Deserialize)]
    struct Refusal {
        message: String,
    }
    let reason = match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) => refusal.message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    HttpError::Status {
        status: status.as_u16(),
        reason: reason.chars().take(REASON_LEN).collect(),
    }
}
