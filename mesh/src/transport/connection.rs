//! A connection that is kept: a task of its own makes it, drives it and makes it anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::{Request, Response};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Origin;
use super::connector::{Connector, NoConnection, Sender};
use super::exchange::{ExchangeBody, exchange};
use crate::call::ReplayBody;
use crate::deadline::Deadline;
use crate::discovery::EndpointAddress;
use crate::error::CallError;
use crate::metric_names;
use crate::probe::jittered;

/// A kept connection. Dropped, it ends its task; calls under way run on.
#[derive(Debug)]
pub(crate) struct Connection {
    link: watch::Receiver<Link>,
    /// The live connection, for every call to read without a lock.
    live: Arc<ArcSwapOption<Live>>,
    origin: Arc<Origin>,
    keeper: AbortHandle,
}

/// A live connection.
#[derive(Debug)]
pub(crate) struct Live {
    sender: Sender,
    /// A call has been made on it.
    used: AtomicBool,
    /// A call on it was answered.
    answered: AtomicBool,
}

/// What there is of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// Counts the attempts to connect, from 1; each makes one connection or none.
    pub(crate) attempt: u64,
    pub(crate) state: LinkState,
}

#[derive(Clone, Debug)]
pub(crate) enum LinkState {
    /// The attempt is under way.
    Connecting,
    /// The attempt made a connection, and it lives.
    Up(Sender),
    /// The attempt failed, or its connection broke at once. The next one comes by itself at `retry_at`.
    Down { reason: Arc<str>, retry_at: Instant },
}

struct Keeper {
    target: Arc<str>,
    endpoint: Arc<str>,
    address: EndpointAddress,
    connector: Connector,
    link: watch::Sender<Link>,
    live: Arc<ArcSwapOption<Live>>,
    keepalive: Duration,
    retry_interval: Duration,
    up: metrics::Gauge,
}

/// How an attempt ended.
enum Ended {
    /// Without a connection.
    Unconnected,
    /// With one that has closed; whether calls were made on it.
    Closed { used: bool },
}

/// The longest time between pings that complaints of the server lead to.
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(2 * 60 * 60);

// === impl Connection ===

impl Connection {
    /// Begins to connect. Must be called within a tokio runtime.
    pub(crate) fn keep(
        target: Arc<str>,
        address: EndpointAddress,
        connector: Connector,
        keepalive: Duration,
        retry_interval: Duration,
    ) -> Self {
        let (link_sender, link) = watch::channel(Link {
            attempt: 1,
            state: LinkState::Connecting,
        });
        let endpoint: Arc<str> = address.to_string().into();
        let live = Arc::new(ArcSwapOption::empty());
        let origin = connector.origin().clone();
        let up = metrics::gauge!(
            metric_names::CONNECTION_UP,
            "target" => target.to_string(),
            "endpoint" => endpoint.to_string(),
        );
        up.set(0.0);
        let keeper = Keeper {
            target,
            endpoint,
            address,
            connector,
            link: link_sender,
            live: live.clone(),
            keepalive,
            retry_interval,
            up,
        };
        let keeper = tokio::spawn(keeper.run()).abort_handle();
        Self {
            link,
            live,
            origin,
            keeper,
        }
    }

    /// What there is of the connection, to watch it.
    pub(crate) fn watch(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// The live connection, while there is one.
    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        // A connection that is closing is noticed here before its keeper has got round to it.
        self.live.load_full().filter(|live| !live.sender.is_closed())
    }

    pub(crate) fn is_up(&self) -> bool {
        self.link.borrow().is_up()
    }

    /// What calls over it are addressed to.
    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

// === impl Live ===

impl Live {
    /// Sends a request that is addressed already, and waits for the headers of its response. Cancel safe: dropped,
    /// it resets the stream.
    ///
    /// A connection that ends after calls were made on it is followed by the next one at once: so often as that
    /// happens, the circuit judges it. An end before a call was begun is no evidence against a server that has answered
    /// on it; one that only takes connections to close them is as good as none.
    ///
    /// # Errors
    /// What happened to the call.
    pub(crate) async fn exchange(
        &self,
        target: &Arc<str>,
        request: Request<ReplayBody>,
        deadline: Deadline,
    ) -> Result<Response<ExchangeBody>, CallError> {
        set(&self.used);
        let answer = exchange(target, self.sender.clone(), request, deadline).await;
        match answer {
            Ok(_) => set(&self.answered),
            Err(CallError::ConnectionClosed { target, reason }) if !self.answered.load(Ordering::Relaxed) => {
                return Err(CallError::NotConnected { target, reason });
            }
            Err(_) => {}
        }
        answer
    }
}

/// Read before it is written, so that calls on one connection do not take the line from each other.
fn set(flag: &AtomicBool) {
    if !flag.load(Ordering::Relaxed) {
        flag.store(true, Ordering::Relaxed);
    }
}

// === impl Link ===

impl Link {
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, LinkState::Up(_))
    }
}

// === impl Keeper ===

impl Keeper {
    async fn run(mut self) {
        let mut attempt = 1;
        loop {
            let since = Instant::now();
            let (reason, ended) = self.keep_once(attempt).await;
            let at_once = match ended {
                Ended::Unconnected => false,
                // A server that takes connections and closes them is not to be stormed; one that has lived for a
                // while, or that closes after a number of calls, is gone for at most a moment.
                Ended::Closed { used } => used || since.elapsed() >= self.retry_interval,
            };
            if !at_once {
                let wait = jittered(self.retry_interval);
                self.publish(
                    attempt,
                    LinkState::Down {
                        reason,
                        retry_at: Instant::now() + wait,
                    },
                );
                tokio::time::sleep(wait).await;
            }
            attempt += 1;
        }
    }

    /// Makes one connection and drives it to its end. Says why there is none any more.
    async fn keep_once(&mut self, attempt: u64) -> (Arc<str>, Ended) {
        self.publish(attempt, LinkState::Connecting);
        match self.connector.connect(&self.address, self.keepalive).await {
            Ok((sender, driver)) => {
                let live = Arc::new(Live {
                    sender: sender.clone(),
                    used: AtomicBool::new(false),
                    answered: AtomicBool::new(false),
                });
                self.live.store(Some(live.clone()));
                self.publish(attempt, LinkState::Up(sender));
                self.up.set(1.0);
                tracing::info!(
                    target_name = &*self.target,
                    endpoint = &*self.endpoint,
                    "connected"
                );
                // Ends when the connection does, or when the server wants no new calls on it; calls under way then
                // end on a task of hyper's.
                let end = driver.await;
                self.live.store(None);
                self.up.set(0.0);
                let used = live.used.load(Ordering::Relaxed);
                (self.closed(end), Ended::Closed { used })
            }
            Err(NoConnection::Ended(end)) => (self.closed(end), Ended::Unconnected),
            Err(failed) => {
                let reason: Arc<str> = failed.to_string().into();
                tracing::debug!(
                    target_name = &*self.target,
                    endpoint = &*self.endpoint,
                    reason = &*reason,
                    "cannot connect"
                );
                (reason, Ended::Unconnected)
            }
        }
    }

    fn publish(&self, attempt: u64, state: LinkState) {
        self.link.send_replace(Link { attempt, state });
    }

    fn closed(&mut self, end: hyper::Result<()>) -> Arc<str> {
        let Err(error) = end else {
            tracing::info!(
                target_name = &*self.target,
                endpoint = &*self.endpoint,
                "connection closed"
            );
            return "connection closed by the server".into();
        };
        let reason: Arc<str> = crate::error::chain(&error).into();
        tracing::warn!(
            target_name = &*self.target,
            endpoint = &*self.endpoint,
            reason = &*reason,
            "connection broke"
        );
        let complains = crate::error::find::<h2::Error>(&error)
            .is_some_and(|error| error.is_go_away() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM));
        if complains {
            // Other implementations allow a ping in five minutes unless they are told otherwise.
            self.keepalive = (self.keepalive * 2).min(LONGEST_KEEPALIVE);
            tracing::info!(
                target_name = &*self.target,
                keepalive_s = self.keepalive.as_secs(),
                "the server complains of too many pings, pinging half as often"
            );
        }
        reason
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::TcpListener;

    use super::*;
    use crate::grpc::Body;
    use crate::transport::connector::test_connector;

    /// A connection that its server has closed in good order, and how its end counts for a call that comes then.
    async fn call_too_late(answered: bool) -> CallError {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        tokio::spawn(async move {
            let mut server = h2::server::handshake(theirs).await.unwrap();
            tokio::select! {
                _ = server.accept() => {}
                _ = stopped => server.graceful_shutdown(),
            }
            while server.accept().await.is_some() {}
        });
        let (sender, driver) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(ours))
                .await
                .unwrap();
        let live = Live {
            sender,
            used: AtomicBool::new(false),
            answered: AtomicBool::new(answered),
        };
        stop.send(()).unwrap();
        driver.await.unwrap();
        let request = Request::post("http://test/a/b").body(Body::empty()).unwrap();
        let request = request.map(ReplayBody::once);
        let deadline = Deadline::new(Duration::from_secs(60), request.headers(), Instant::now());
        let answer = live.exchange(&"test".into(), request, deadline).await;
        answer.map(drop).unwrap_err()
    }

    #[tokio::test]
    async fn a_call_that_comes_when_its_connection_closes_is_no_evidence_where_calls_were_answered_on_it() {
        let error = call_too_late(true).await;
        assert!(matches!(error, CallError::ConnectionClosed { .. }), "{error:?}");
        let error = call_too_late(false).await;
        assert!(matches!(error, CallError::NotConnected { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_server_that_complains_of_pings_is_pinged_half_as_often() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = EndpointAddress::Socket(listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let mut server = h2::server::handshake(socket).await.unwrap();
                server.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                tokio::spawn(async move { while server.accept().await.is_some() {} });
            }
        });
        let mut keeper = Keeper {
            target: "test".into(),
            endpoint: "test".into(),
            address,
            connector: test_connector(),
            link: watch::channel(Link {
                attempt: 0,
                state: LinkState::Connecting,
            })
            .0,
            live: Arc::default(),
            keepalive: Duration::from_secs(10),
            retry_interval: Duration::from_secs(1),
            up: metrics::Gauge::noop(),
        };
        for seconds in [20, 40, 80] {
            let (reason, _) = keeper.keep_once(1).await;
            assert_eq!(keeper.keepalive, Duration::from_secs(seconds), "{reason}");
        }
        keeper.keepalive = LONGEST_KEEPALIVE;
        keeper.keep_once(1).await;
        assert_eq!(keeper.keepalive, LONGEST_KEEPALIVE);
    }
}
