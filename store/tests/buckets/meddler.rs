//! Stands between a store and its server, and meddles with what they say.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

/// What it does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meddling {
    /// Answers itself, with this status and this body.
    Answers(u16, &'static str),
    /// Takes the condition from requests.
    DropsConditions,
    /// Lets a request pass when the one before it was answered.
    OneByOne,
}

/// Ends when dropped. It may be told to let everything pass.
pub(crate) struct Meddler {
    pub(crate) address: SocketAddr,
    meddles: Arc<AtomicBool>,
    task: AbortHandle,
}

// === impl Meddler ===

impl Meddler {
    pub(crate) async fn start(server: SocketAddr, meddling: Meddling) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let meddles = Arc::new(AtomicBool::new(true));
        let client: Client<HttpConnector, Incoming> = Client::builder(TokioExecutor::new()).build_http();
        let does = Arc::clone(&meddles);
        let turn = Arc::new(Mutex::new(()));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (client, does, turn) = (client.clone(), Arc::clone(&does), Arc::clone(&turn));
                let serve = service_fn(move |request| {
                    let meddling = does.load(Ordering::Acquire).then_some(meddling);
                    let (client, turn) = (client.clone(), Arc::clone(&turn));
                    async move {
                        let turn = match meddling {
                            Some(Meddling::OneByOne) => Some(turn.lock().await),
                            _ => None,
                        };
                        let answer = answer(client, server, meddling, request).await;
                        drop(turn);
                        answer
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), serve));
            }
        });
        Self {
            address,
            meddles,
            task: task.abort_handle(),
        }
    }

    pub(crate) fn let_pass(&self) {
        self.meddles.store(false, Ordering::Release);
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    client: Client<HttpConnector, Incoming>,
    server: SocketAddr,
    meddling: Option<Meddling>,
    mut request: Request<Incoming>,
) -> Result<Response<Either<Incoming, Full<Bytes>>>, Infallible> {
    let said = |status: StatusCode, body: &'static str| {
        let body = Either::Right(Full::new(Bytes::from_static(body.as_bytes())));
        Response::builder().status(status).body(body).unwrap()
    };
    match meddling {
        Some(Meddling::Answers(status, body)) => {
            let _ = request.into_body().collect().await;
            return Ok(said(StatusCode::from_u16(status).unwrap(), body));
        }
        Some(Meddling::DropsConditions) => {
            request.headers_mut().remove(header::IF_NONE_MATCH);
        }
        Some(Meddling::OneByOne) | None => {}
    }
    let path = request.uri().path_and_query().unwrap().to_string();
    *request.uri_mut() = format!("http://{server}{path}").parse().unwrap();
    match client.request(request).await {
        Ok(answer) => Ok(answer.map(Either::Left)),
        Err(_) => Ok(said(StatusCode::BAD_GATEWAY, "")),
    }
}
