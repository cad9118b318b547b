//! The task that watches over a target: probes it while it is not well, and publishes its availability. It runs
//! whether anybody calls or not, so an idle target heals, too.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::availability::Availability;
use crate::breaker::{Circuit, CircuitState, CircuitStatus};
use crate::metric_names;
use crate::probe::{Finding, Probe, jittered};
use crate::transport::{Endpoint, Link, LinkState};

pub(crate) struct Supervisor {
    pub(crate) target: Arc<str>,
    pub(crate) circuit: Circuit,
    pub(crate) endpoint: Endpoint,
    pub(crate) probe: Probe,
    pub(crate) interval: Duration,
    pub(crate) availability: watch::Sender<Availability>,
}

/// What is known of the target beside its circuit and its link.
struct Health {
    /// The attempt whose connection the last finding is about.
    attempt: u64,
    finding: Option<Finding>,
    /// When to ask again.
    next: Instant,
}

/// A probe under way.
struct Asking {
    attempt: u64,
    generation: u64,
    answer: Pin<Box<dyn Future<Output = Finding> + Send>>,
}

// === impl Supervisor ===

impl Supervisor {
    /// Runs until it is aborted, or the connection's keeper ends.
    pub(crate) async fn run(self) {
        let mut links = self.endpoint.connection().watch();
        let mut statuses = self.circuit.watch();
        let mut health = Health {
            attempt: 0,
            finding: None,
            next: Instant::now(),
        };
        let mut asking: Option<Asking> = None;
        let mut told_down: u64 = 0;
        let mut was_open = false;
        self.gauge(false);
        loop {
            let link = links.borrow_and_update().clone();
            let status = statuses.borrow_and_update().clone();

            let is_open = status.state == CircuitState::Open;
            if is_open && !was_open {
                // What has just failed is not asked at once.
                health.next = Instant::now() + jittered(self.interval);
            }
            was_open = is_open;

            if let LinkState::Down { reason, .. } = &link.state
                && link.attempt > told_down
            {
                told_down = link.attempt;
                asking = None;
                self.circuit.probe_failed(status.generation, reason);
            }
            let wants_probe = link.is_up() && !self.is_well(&link, &status, &health);
            if !wants_probe {
                asking = None;
            } else if asking.is_none() && (health.attempt != link.attempt || Instant::now() >= health.next) {
                asking = Some(self.ask(link.attempt, status.generation));
            }
            self.publish(&link, &status, &health);

            tokio::select! {
                changed = links.changed() => if changed.is_err() { return },
                changed = statuses.changed() => if changed.is_err() { return },
                finding = answer(&mut asking) => {
                    if let Some(asked) = asking.take() {
                        self.found(asked, finding, &mut health);
                    }
                }
                () = sleep_until(health.next), if wants_probe && asking.is_none() => {}
            }
        }
    }

    /// Whether there is nothing to ask: the circuit is closed, and the last finding is about this connection and
    /// good.
    fn is_well(&self, link: &Link, status: &CircuitStatus, health: &Health) -> bool {
        status.state == CircuitState::Closed
            && health.attempt == link.attempt
            && health.finding == Some(Finding::Well)
    }

    fn ask(&self, attempt: u64, generation: u64) -> Asking {
        let (probe, endpoint) = (self.probe.clone(), self.endpoint.clone());
        Asking {
            attempt,
            generation,
            answer: Box::pin(async move { probe.ask(endpoint).await }),
        }
    }

    fn found(&self, asked: Asking, finding: Finding, health: &mut Health) {
        let result = match &finding {
            Finding::Well => {
                self.circuit.probe_passed(asked.generation);
                "passed"
            }
            Finding::Unwell(reason) => {
                self.circuit.probe_failed(asked.generation, reason);
                "failed"
            }
        };
        metrics::counter!(metric_names::PROBES, "target" => self.target.to_string(), "result" => result)
            .increment(1);
        tracing::debug!(target_name = &*self.target, result, "probed");
        health.attempt = asked.attempt;
        health.finding = Some(finding);
        health.next = Instant::now() + jittered(self.interval);
    }

    fn publish(&self, link: &Link, status: &CircuitStatus, health: &Health) {
        let Some(now) = self.judge(link, status, health) else {
            return;
        };
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

    /// `None` while it is not known yet: what was published stands.
    fn judge(&self, link: &Link, status: &CircuitStatus, health: &Health) -> Option<Availability> {
        if status.state == CircuitState::Open {
            let reason = match &status.last_failure {
                Some(why) => format!("circuit open after: {why}"),
                None => "circuit open".to_owned(),
            };
            let retry_at = match &link.state {
                LinkState::Down { retry_at, .. } => *retry_at,
                LinkState::Connecting | LinkState::Up(_) => health.next,
            };
            return Some(Availability::no(reason, Some(retry_at)));
        }
        match &link.state {
            LinkState::Down { reason, retry_at } => Some(Availability::no(
                format!("no connection: {reason}"),
                Some(*retry_at),
            )),
            LinkState::Connecting => None,
            LinkState::Up(_) if health.attempt != link.attempt => None,
            LinkState::Up(_) => match &health.finding {
                None => None,
                Some(Finding::Unwell(reason)) => Some(Availability::no(reason.clone(), Some(health.next))),
                Some(Finding::Well) if status.state == CircuitState::HalfOpen => Some(Availability::yes(
                    "one call is let through, its result decides",
                    true,
                )),
                Some(Finding::Well) => Some(Availability::yes("well", false)),
            },
        }
    }
}

/// The answer of the probe under way; never, without one.
async fn answer(asking: &mut Option<Asking>) -> Finding {
    match asking {
        Some(asking) => asking.answer.as_mut().await,
        None => std::future::pending().await,
    }
}
