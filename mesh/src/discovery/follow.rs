//! The task that follows a name.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::metric_names;

use super::address::{Place, TargetAddress};
use super::endpoint::{EndpointAddress, Found};
use super::lookup::{DnsLookup, Lookup};
use super::schedule::Schedule;
use super::settings::DiscoverySettings;

/// Follows where a target's endpoints are. Its task ends with it.
#[derive(Debug)]
pub(crate) struct Discovery {
    found: watch::Receiver<Found>,
    refresh: Arc<Notify>,
    /// None where there is nothing to follow.
    task: Option<AbortHandle>,
}

/// Looks a name up, again and again.
struct Follower<L> {
    target: Arc<str>,
    port: u16,
    lookup: L,
    schedule: Schedule,
    refresh: Arc<Notify>,
    found: watch::Sender<Found>,
}

// === impl Discovery ===

impl Discovery {
    /// Begins to follow a target. `target` is its name in metrics and the log.
    ///
    /// # Errors
    /// There is no tokio runtime around for its task.
    pub(crate) fn start(
        target: Arc<str>,
        address: &TargetAddress,
        settings: DiscoverySettings,
    ) -> Result<Self, String> {
        match &address.place {
            Place::Known(endpoints) => Ok(Self {
                // A receiver keeps the last value when its sender is gone.
                found: watch::channel(Found::these(endpoints.clone())).1,
                refresh: Arc::default(),
                task: None,
            }),
            Place::Dns(name) => {
                let lookup = DnsLookup::new(name.clone(), settings.timeout);
                Self::follow(target, name.port, lookup, &settings)
            }
        }
    }

    /// What is known, as it changes. The channel of a target that needs no lookup is closed from the start and
    /// keeps its value.
    pub(crate) fn watch(&self) -> watch::Receiver<Found> {
        self.found.clone()
    }

    /// A connection broke, so endpoints may have come or gone: looks up again soon, but no sooner after the last
    /// lookup than [`DiscoverySettings::least`].
    pub(crate) fn refresh(&self) {
        self.refresh.notify_one();
    }

    fn follow<L: Lookup>(
        target: Arc<str>,
        port: u16,
        lookup: L,
        settings: &DiscoverySettings,
    ) -> Result<Self, String> {
        let runtime = Handle::try_current().map_err(|error| error.to_string())?;
        let (sender, found) = watch::channel(Found::nothing_yet());
        let refresh: Arc<Notify> = Arc::default();
        let follower = Follower {
            target,
            port,
            lookup,
            schedule: Schedule::new(settings, Instant::now()),
            refresh: refresh.clone(),
            found: sender,
        };
        let task = runtime.spawn(follower.run()).abort_handle();
        Ok(Self {
            found,
            refresh,
            task: Some(task),
        })
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

// === impl Follower ===

impl<L: Lookup> Follower<L> {
    /// Runs until it is aborted.
    async fn run(mut self) {
        loop {
            tokio::select! {
                () = sleep_until(self.schedule.next()) => {
                    let result = self.lookup.addresses().await;
                    self.learn(result);
                }
                // One that arrives during a lookup is kept: the answer may be from before what broke.
                () = self.refresh.notified() => self.schedule.hasten(Instant::now()),
            }
        }
    }

    fn learn(&mut self, result: Result<Vec<IpAddr>, String>) {
        let label = if result.is_ok() { "found" } else { "failed" };
        metrics::counter!(metric_names::LOOKUPS, "target" => self.target.to_string(), "result" => label)
            .increment(1);
        match result {
            Ok(addresses) => {
                self.schedule.succeeded(Instant::now());
                let port = self.port;
                let mut endpoints: Vec<EndpointAddress> = addresses
                    .into_iter()
                    .map(|ip| SocketAddr::new(ip, port).into())
                    .collect();
                endpoints.sort_unstable();
                endpoints.dedup();
                self.publish(Found::these(endpoints.into()));
            }
            Err(reason) => {
                self.schedule.failed(Instant::now());
                let endpoints = self.found.borrow().endpoints.clone();
                self.publish(Found {
                    endpoints,
                    error: Some(reason.into()),
                    looked_up: true,
                });
            }
        }
    }

    /// Wakes nobody and logs nothing when all is as it was.
    fn publish(&self, now: Found) {
        self.found.send_if_modified(|published| {
            let moved = published.endpoints != now.endpoints;
            let judged = published.error != now.error;
            if moved {
                self.log_endpoints(&published.endpoints, &now.endpoints);
            }
            if judged {
                self.log_error(&now);
            }
            let changed = moved || judged || published.looked_up != now.looked_up;
            *published = now;
            changed
        });
    }

    fn log_endpoints(&self, before: &[EndpointAddress], now: &[EndpointAddress]) {
        let added = now.iter().filter(|endpoint| !before.contains(endpoint)).count();
        let removed = before.iter().filter(|endpoint| !now.contains(endpoint)).count();
        tracing::info!(
            target_name = &*self.target,
            endpoints = now.len(),
            added,
            removed,
            "endpoints changed"
        );
    }

    fn log_error(&self, now: &Found) {
        let (target_name, endpoints) = (&*self.target, now.endpoints.len());
        match now.error.as_deref() {
            Some(reason) => tracing::warn!(target_name, reason, endpoints, "lookup failed, endpoints kept"),
            None => tracing::info!(target_name, endpoints, "lookups succeed again"),
        }
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
