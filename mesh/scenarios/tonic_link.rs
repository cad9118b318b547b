//! A connection as tonic's balanced channel keeps it, over the network in memory.
//!
//! tonic makes the connections of its `balance_list` itself and over sockets alone, so that they cannot be
//! simulated. This one does what they do: it connects when it is polled, and after a failed attempt it says that it
//! is ready, and fails the next call.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use http::{Request, Response};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use safelight_mesh::BoxError;
use tonic::body::Body;
use tower::Service;

use crate::network::Network;

pub(crate) struct TonicLink {
    network: Network,
    address: String,
    state: State,
}

enum State {
    Idle,
    Connecting(BoxFuture<'static, Result<SendRequest<Body>, BoxError>>),
    Up(SendRequest<Body>),
    /// The next call learns of it.
    Failed(BoxError),
}

// === impl TonicLink ===

impl TonicLink {
    pub(crate) fn new(network: Network, address: String) -> Self {
        Self {
            network,
            address,
            state: State::Idle,
        }
    }
}

impl Service<Request<Body>> for TonicLink {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        loop {
            self.state = match &mut self.state {
                State::Idle => {
                    let (network, address) = (self.network.clone(), self.address.clone());
                    State::Connecting(Box::pin(connect(network, address)))
                }
                State::Connecting(connecting) => match ready!(connecting.as_mut().poll(cx)) {
                    Ok(sender) => State::Up(sender),
                    Err(error) => State::Failed(error),
                },
                State::Up(sender) => match ready!(sender.poll_ready(cx)) {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(_) => State::Idle,
                },
                State::Failed(_) => return Poll::Ready(Ok(())),
            }
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Up(mut sender) => {
                let response = sender.send_request(request);
                self.state = State::Up(sender);
                Box::pin(async move { Ok(response.await?.map(Body::new)) })
            }
            State::Failed(error) => Box::pin(async move { Err(error) }),
            State::Idle | State::Connecting(_) => panic!("called without being ready"),
        }
    }
}

async fn connect(network: Network, address: String) -> Result<SendRequest<Body>, BoxError> {
    let wire = network.dial(&address).await?;
    let (sender, driver) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .handshake(TokioIo::new(wire))
        .await?;
    tokio::spawn(driver);
    Ok(sender)
}
