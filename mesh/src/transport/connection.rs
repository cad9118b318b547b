//! A connection that is kept: a task of its own makes it, drives it and makes it anew.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Origin;
use super::connector::{Connector, Sender};
use crate::metric_names;
use crate::probe::jittered;

/// A kept connection. Dropped, it ends its task; calls under way run on.
#[derive(Debug)]
pub(crate) struct Connection {
    link: watch::Receiver<Link>,
    /// The live connection, for every call to read without a lock.
    live: Arc<ArcSwapOption<Sender>>,
    origin: Arc<Origin>,
    keeper: AbortHandle,
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
    connector: Connector,
    link: watch::Sender<Link>,
    live: Arc<ArcSwapOption<Sender>>,
    keepalive: Duration,
    retry_interval: Duration,
    up: metrics::Gauge,
}

/// The longest time between pings that complaints of the server lead to.
const LONGEST_KEEPALIVE: Duration = Duration::from_secs(2 * 60 * 60);

// === impl Connection ===

impl Connection {
    /// Begins to connect. Must be called within a tokio runtime.
    pub(crate) fn keep(
        target: Arc<str>,
        endpoint: Arc<str>,
        connector: Connector,
        keepalive: Duration,
        retry_interval: Duration,
    ) -> Self {
        let (link_sender, link) = watch::channel(Link {
            attempt: 1,
            state: LinkState::Connecting,
        });
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

    /// The way to send a call, while there is a live connection.
    pub(crate) fn sender(&self) -> Option<Sender> {
        let live = self.live.load();
        let sender = live.as_ref()?;
        // A connection that is closing is noticed here before its keeper has got round to it.
        (!sender.is_closed()).then(|| Sender::clone(sender))
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
            let (reason, was_up) = self.keep_once(attempt).await;
            // A server that takes connections and closes them is not to be stormed.
            if !was_up || since.elapsed() < self.retry_interval {
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

    /// Makes one connection and drives it to its end. Says why there is none any more, and whether there was one.
    async fn keep_once(&mut self, attempt: u64) -> (Arc<str>, bool) {
        self.publish(attempt, LinkState::Connecting);
        match self.connector.connect(self.keepalive).await {
            Ok((sender, driver)) => {
                self.live.store(Some(Arc::new(sender.clone())));
                self.publish(attempt, LinkState::Up(sender));
                self.up.set(1.0);
                tracing::info!(target_name = &*self.target, endpoint = &*self.endpoint, "connected");
                // Ends when the connection does, or when the server wants no new calls on it; calls under way then
                // end on a task of hyper's.
                let end = driver.await;
                self.live.store(None);
                self.up.set(0.0);
                (self.closed(end), true)
            }
            Err(reason) => {
                tracing::debug!(target_name = &*self.target, endpoint = &*self.endpoint, reason = &*reason, "cannot connect");
                (reason, false)
            }
        }
    }

    fn publish(&self, attempt: u64, state: LinkState) {
        self.link.send_replace(Link { attempt, state });
    }

    fn closed(&mut self, end: hyper::Result<()>) -> Arc<str> {
        let Err(error) = end else {
            tracing::info!(target_name = &*self.target, endpoint = &*self.endpoint, "connection closed");
            return "connection closed by the server".into();
        };
        let reason: Arc<str> = crate::error::chain(&error).into();
        tracing::warn!(target_name = &*self.target, endpoint = &*self.endpoint, reason = &*reason, "connection broke");
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

    use tokio::net::TcpListener;

    use super::*;
    use crate::transport::connector::test_connector;

    #[tokio::test]
    async fn a_server_that_complains_of_pings_is_pinged_half_as_often() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connector = test_connector(listener.local_addr().unwrap());
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
            connector,
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
            let (reason, was_up) = keeper.keep_once(1).await;
            assert!(was_up, "{reason}");
            assert_eq!(keeper.keepalive, Duration::from_secs(seconds), "{reason}");
        }
        keeper.keepalive = LONGEST_KEEPALIVE;
        keeper.keep_once(1).await;
        assert_eq!(keeper.keepalive, LONGEST_KEEPALIVE);
    }
}
