//! The task that keeps the endpoints of a target: follows discovery, publishes the choice and the availability.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Load;
use super::choice::{Choice, Picker};
use super::endpoint::{Endpoint, EndpointParts, Standing};
use crate::availability::Availability;
use crate::breaker::{Cap, Circuit, Policy};
use crate::discovery::{Discovery, EndpointAddress, Found};
use crate::metric_names;
use crate::probe::Probe;
use crate::transport::{Connection, Connector};

/// What the endpoints of a target have in common.
#[derive(Clone, Debug)]
pub(crate) struct BalanceSettings {
    pub(crate) probe_interval: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) keepalive_interval: Duration,
    pub(crate) policy: Policy,
}

/// Keeps the endpoints. Ends when it is aborted, with all of them that no call is on.
pub(crate) struct Balance {
    pub(crate) target: Arc<str>,
    pub(crate) settings: BalanceSettings,
    /// Shared by the circuits.
    pub(crate) cap: Cap,
    pub(crate) connector: Connector,
    pub(crate) probe: Probe,
    pub(crate) discovery: Discovery,
    pub(crate) picker: Arc<Picker>,
    pub(crate) availability: watch::Sender<Availability>,
}

struct Members {
    by_address: BTreeMap<EndpointAddress, Arc<Endpoint>>,
    next_id: u64,
    base: Instant,
}

// === impl Balance ===

impl Balance {
    pub(crate) async fn run(self) {
        let (changed, mut changes) = watch::channel(0);
        let mut found = self.discovery.watch();
        let mut members = Members {
            by_address: BTreeMap::new(),
            next_id: 0,
            base: Instant::now(),
        };
        self.gauge(false);
        // What needs no lookup never changes.
        let mut follows = true;
        loop {
            let now_found = found.borrow_and_update().clone();
            changes.borrow_and_update();
            self.follow(&now_found, &mut members, &changed);
            self.publish(&now_found, &members);
            // In order, so that the same events at the same moment always have the same effect.
            tokio::select! {
                biased;
                changed = found.changed(), if follows => follows = changed.is_ok(),
                _ = changes.changed() => self.look_again(&members),
            }
        }
    }

    /// Lets endpoints come and go as discovery finds them. One that goes leaves the choice; calls on it run on.
    fn follow(&self, found: &Found, members: &mut Members, changed: &watch::Sender<u64>) {
        let gone = |address: &EndpointAddress| !found.endpoints.contains(address);
        members.by_address.retain(|address, endpoint| {
            let gone = gone(address);
            if gone {
                tracing::info!(
                    target_name = &*self.target,
                    endpoint = &*endpoint.name,
                    "endpoint gone"
                );
            }
            !gone
        });
        // The first that are found share the load from the start; only who joins others is ramped up.
        let joins = members.next_id > 0;
        for address in found.endpoints.iter() {
            if !members.by_address.contains_key(address) {
                let endpoint = self.endpoint(address, joins, members, changed);
                tracing::debug!(
                    target_name = &*self.target,
                    endpoint = &*endpoint.name,
                    "endpoint found"
                );
                members.by_address.insert(address.clone(), endpoint);
            }
        }
        self.cap.set_endpoints(members.by_address.len());
        metrics::gauge!(metric_names::ENDPOINTS, "target" => self.target.to_string())
            .set(members.by_address.len() as f64);
    }

    fn endpoint(
        &self,
        address: &EndpointAddress,
        joins: bool,
        members: &mut Members,
        changed: &watch::Sender<u64>,
    ) -> Arc<Endpoint> {
        let id = members.next_id;
        members.next_id += 1;
        let circuit = Circuit::for_endpoint(
            self.target.clone(),
            address.to_string(),
            self.settings.policy.clone(),
            self.cap.clone(),
        );
        let connection = Connection::keep(
            self.target.clone(),
            address.clone(),
            self.connector.clone(),
            self.settings.keepalive_interval,
            self.settings.probe_interval,
        );
        let load = Arc::new(Load::new(members.base));
        if joins {
            load.ramp_up(Instant::now());
        }
        Endpoint::start(
            EndpointParts {
                id,
                target: self.target.clone(),
                address: address.clone(),
                circuit,
                connection,
                load,
                probe: self.probe.clone(),
                settings: self.settings.clone(),
            },
            changed.clone(),
        )
    }

    /// A connection that broke may mean that its server has moved.
    fn look_again(&self, members: &Members) {
        let any_down = members
            .by_address
            .values()
            .any(|endpoint| !endpoint.connection.is_up());
        if any_down {
            self.discovery.refresh();
        }
    }

    fn publish(&self, found: &Found, members: &Members) {
        let all: Arc<[Arc<Endpoint>]> = members.by_address.values().cloned().collect();
        let standings: Vec<Standing> = all.iter().map(|endpoint| endpoint.standing()).collect();
        let ready: Box<[Arc<Endpoint>]> = all
            .iter()
            .zip(&standings)
            .filter(|(_, standing)| standing.is_in_choice())
            .map(|(endpoint, _)| endpoint.clone())
            .collect();
        let waiting = ready.is_empty() && (standings.contains(&Standing::Waiting) || !found.looked_up);
        let no_endpoint = all.is_empty().then(|| match &found.error {
            Some(error) => error.clone(),
            None => Arc::from("the name has no address"),
        });
        let available = availability(&standings, no_endpoint.as_ref(), waiting);
        self.picker.publish(Choice {
            ready,
            all,
            waiting,
            no_endpoint,
        });
        if let Some(available) = available {
            self.tell(available);
        }
    }

    fn tell(&self, now: Availability) {
        self.availability.send_if_modified(|published| {
            if published.state != now.state {
                let available = now.is_available();
                self.gauge(available);
                tracing::info!(
                    target_name = &*self.target,
                    available,
                    reason = &*now.reason,
                    "availability changed"
                );
            }
            // That another probe has failed is no news to wake anybody for.
            let silent = Availability {
                retry_at: now.retry_at,
                ..published.clone()
            } == now;
            *published = now;
            !silent
        });
    }

    fn gauge(&self, available: bool) {
        metrics::gauge!(metric_names::AVAILABLE, "target" => self.target.to_string())
            .set(f64::from(u8::from(available)));
    }
}

/// Whether the target takes work; `None` while it is not known yet: what was published stands.
fn availability(
    standings: &[Standing],
    no_endpoint: Option<&Arc<str>>,
    waiting: bool,
) -> Option<Availability> {
    if standings.contains(&Standing::Ready) {
        return Some(Availability::yes("well", false));
    }
    if standings.contains(&Standing::Trial) {
        return Some(Availability::yes(
            "one call is let through, its result decides",
            true,
        ));
    }
    if waiting {
        return None;
    }
    if let Some(why) = no_endpoint {
        return Some(Availability::no(format!("no endpoint: {why}"), None));
    }
    let (mut reason, mut soonest) = (None, None);
    for standing in standings {
        if let Standing::Out { why, retry_at } = standing
            && (reason.is_none() || retry_at.is_some_and(|at| soonest.is_none_or(|soonest| at < soonest)))
        {
            reason = Some(why);
            soonest = *retry_at;
        }
    }
    let reason = match (reason, standings.len()) {
        (Some(why), 1) => why.to_string(),
        (Some(why), of) => format!("none of {of} endpoints takes calls, one of them: {why}"),
        (None, _) => "not known yet".to_owned(),
    };
    Some(Availability::no(reason, soonest))
}
