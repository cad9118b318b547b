//! A connection that is kept: a task of its own makes it, drives it and makes it anew.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::connector::{Connector, Sender};
use crate::metric_names;
use crate::probe::jittered;

/// A kept connection. Dropped, it ends its task; calls under way run on.
#[derive(Debug)]
pub(crate) struct Connection {
    link: watch::Receiver<Link>,
    /// The number of the attempt that somebody is waiting for.
    wanted: watch::Sender<u64>,
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
    /// The attempt failed, or its connection broke at once. The next one comes by itself at `retry_at`, or as soon
    /// as a call wants it.
    Down { reason: Arc<str>, retry_at: Instant },
}

struct Keeper {
    target: Arc<str>,
    connector: Connector,
    link: watch::Sender<Link>,
    wanted: watch::Receiver<u64>,
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
        connector: Connector,
        keepalive: Duration,
        retry_interval: Duration,
    ) -> Self {
        let (link_sender, link) = watch::channel(Link {
            attempt: 1,
            state: LinkState::Connecting,
        });
        let (wanted, wanted_receiver) = watch::channel(1);
        let up = metrics::gauge!(metric_names::CONNECTION_UP, "target" => target.to_string());
        up.set(0.0);
        let keeper = Keeper {
            target,
            connector,
            link: link_sender,
            wanted: wanted_receiver,
            keepalive,
            retry_interval,
            up,
        };
        let keeper = tokio::spawn(keeper.run()).abort_handle();
        Self { link, wanted, keeper }
    }

    /// What there is of the connection, to watch it.
    pub(crate) fn watch(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// A live connection of attempt `at_least` or later. With none there, waits for one attempt to make it: the one
    /// that is under way, else a new one at once. Cancel safe.
    ///
    /// # Errors
    /// Why that attempt failed.
    pub(super) async fn live(&self, at_least: u64) -> Result<(u64, Sender), Arc<str>> {
        let mut link = self.link.clone();
        // The attempt whose failure is the answer.
        let mut awaited: Option<u64> = None;
        loop {
            let attempt = {
                let now = link.borrow_and_update();
                let next = match &now.state {
                    LinkState::Up(sender) if now.attempt >= at_least && !sender.is_closed() => {
                        return Ok((now.attempt, sender.clone()));
                    }
                    LinkState::Down { reason, .. }
                        if awaited.is_some_and(|awaited| now.attempt >= awaited) =>
                    {
                        return Err(reason.clone());
                    }
                    LinkState::Connecting => now.attempt,
                    // A connection that is up and cannot be used is closed, and its keeper is about to notice.
                    LinkState::Up(_) | LinkState::Down { .. } => now.attempt + 1,
                };
                *awaited.get_or_insert(next)
            };
            self.want(attempt);
            if link.changed().await.is_err() {
                return Err("the target was dropped".into());
            }
        }
    }

    fn want(&self, attempt: u64) {
        self.wanted.send_if_modified(|wanted| {
            let more = attempt > *wanted;
            *wanted = attempt.max(*wanted);
            more
        });
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
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    wanted = self.wanted.wait_for(|wanted| *wanted > attempt) => {
                        if wanted.is_err() {
                            return;
                        }
                    }
                }
            }
            attempt += 1;
        }
    }

    /// Makes one connection and drives it to its end. Says why there is none any more, and whether there was one.
    async fn keep_once(&mut self, attempt: u64) -> (Arc<str>, bool) {
        self.publish(attempt, LinkState::Connecting);
        match self.connector.connect(self.keepalive).await {
            Ok((sender, driver)) => {
                self.publish(attempt, LinkState::Up(sender));
                self.up.set(1.0);
                tracing::info!(target_name = &*self.target, "connected");
                // Ends when the connection does, or when the server wants no new calls on it; calls under way then
                // end on a task of hyper's.
                let end = driver.await;
                self.up.set(0.0);
                (self.closed(end), true)
            }
            Err(reason) => {
                tracing::debug!(target_name = &*self.target, reason = &*reason, "cannot connect");
                (reason, false)
            }
        }
    }

    fn publish(&self, attempt: u64, state: LinkState) {
        self.link.send_replace(Link { attempt, state });
    }

    fn closed(&mut self, end: hyper::Result<()>) -> Arc<str> {
        let Err(error) = end else {
            tracing::info!(target_name = &*self.target, "connection closed");
            return "connection closed by the server".into();
        };
        let reason: Arc<str> = crate::error::chain(&error).into();
        tracing::warn!(target_name = &*self.target, reason = &*reason, "connection broke");
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
    use crate::Settings;
    use crate::transport::Address;

    #[tokio::test]
    async fn a_server_that_complains_of_pings_is_pinged_half_as_often() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let mut server = h2::server::handshake(socket).await.unwrap();
                server.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                tokio::spawn(async move { while server.accept().await.is_some() {} });
            }
        });
        let (wanted, wanted_receiver) = watch::channel(1);
        let mut keeper = Keeper {
            target: "test".into(),
            connector: Connector::new(address, &Settings::default()),
            link: watch::channel(Link {
                attempt: 0,
                state: LinkState::Connecting,
            })
            .0,
            wanted: wanted_receiver,
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
        drop(wanted);
    }
}
