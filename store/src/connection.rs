//! The connections to a bucket: HTTP/1.1, over TLS unless plain HTTP was allowed.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector as TcpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpResponseBody, HttpService,
};
use object_store::{ClientOptions, Result};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Sleep, sleep, timeout};

/// For a connection, TLS apart.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// For an answer to begin, once the request was begun. A part of 5 MiB is sent in it.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// For the next bytes of an answer.
const SILENT: Duration = Duration::from_secs(30);
/// A connection that nobody uses is kept so long.
const IDLE: Duration = Duration::from_secs(30);

type Connector = HttpsConnector<TcpConnector>;
type Reply = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send>>;

/// Makes the clients. Ours and not the default one: that is configured for the whole process, which is the program's
/// affair.
#[derive(Debug)]
pub(crate) struct Connections;

/// Keeps connections.
struct Connection {
    client: Client<Connector, HttpRequestBody>,
    is_plain_allowed: bool,
}

/// The body of an answer, in which no silence is too long.
struct Timely {
    body: Incoming,
    silence: Pin<Box<Sleep>>,
}

#[derive(Debug, thiserror::Error)]
#[error("plain HTTP is not allowed; set AWS_ALLOW_HTTP or AZURE_ALLOW_HTTP to true if it is to be")]
struct PlainHttp;

#[derive(Debug, thiserror::Error)]
#[error("no answer in time")]
struct Late;

// === impl Connections ===

impl HttpConnector for Connections {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let mut roots = RootCertStore::empty();
        // One that cannot be read is one that is not trusted.
        let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| object_store::Error::Generic {
                store: "HTTP",
                source: Box::new(error),
            })?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = TcpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECTED_WITHIN));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let is_plain_allowed = options.get_config_value(&ClientConfigKey::AllowHttp);
        Ok(HttpClient::new(Connection {
            client: Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .build(connector),
            is_plain_allowed: is_plain_allowed.as_deref() == Some("true"),
        }))
    }
}

// === impl Connection ===

impl HttpService for Connection {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        if !self.is_plain_allowed && !is_secure(request.uri()) {
            let refused: Reply = Box::pin(async { Err(HttpError::new(HttpErrorKind::Unknown, PlainHttp)) });
            return refused;
        }
        let answering = self.client.request(request);
        Box::pin(async move {
            let answer = timeout(ANSWERED_WITHIN, answering)
                .await
                .map_err(|_| HttpError::new(HttpErrorKind::Timeout, Late))?
                .map_err(|error| HttpError::new(kind_of(&error), error))?;
            Ok(answer.map(|body| {
                HttpResponseBody::new(Timely {
                    body,
                    silence: Box::pin(sleep(SILENT)),
                })
            }))
        })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

fn is_secure(uri: &Uri) -> bool {
    uri.scheme() == Some(&http::uri::Scheme::HTTPS)
}

/// What decides whether a request is tried again.
fn kind_of(error: &hyper_util::client::legacy::Error) -> HttpErrorKind {
    if error.is_connect() {
        return HttpErrorKind::Connect;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<hyper::Error>() {
            if error.is_timeout() {
                return HttpErrorKind::Timeout;
            }
            if error.is_closed() || error.is_incomplete_message() || error.is_body_write_aborted() {
                return HttpErrorKind::Request;
            }
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::TimedOut => HttpErrorKind::Timeout,
                _ => HttpErrorKind::Interrupted,
            };
        }
        source = cause.source();
    }
    HttpErrorKind::Unknown
}

// === impl Timely ===

impl Body for Timely {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                self.silence.as_mut().reset(tokio::time::Instant::now() + SILENT);
                let interrupted = |error| HttpError::new(HttpErrorKind::Interrupted, error);
                Poll::Ready(frame.map(|frame| frame.map_err(interrupted)))
            }
            Poll::Pending => match self.silence.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Timeout, Late)))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
