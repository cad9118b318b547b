//! The task that watches over an endpoint: probes it while it is not well, and says whether it is in the choice.
//! It runs whether anybody calls or not, so an idle endpoint heals, too.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::Load;
use super::endpoint::{Out, Standing};
use crate::breaker::{Circuit, CircuitState, CircuitStatus};
use crate::metric_names;
use crate::probe::{Finding, Probe, jittered};
use crate::transport::{Connection, Link, LinkState};

pub(super) struct Supervisor {
    pub(super) target: Arc<str>,
    pub(super) endpoint: Arc<str>,
    pub(super) circuit: Circuit,
    pub(super) connection: Arc<Connection>,
    pub(super) load: Arc<Load>,
    pub(super) probe: Probe,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) standing: watch::Sender<Standing>,
    /// A call got no answer in its time: the endpoint is asked, though it counts as well.
    pub(super) suspected: Arc<Notify>,
    /// Counts the changes of any endpoint of the target.
    pub(super) changed: watch::Sender<u64>,
}

/// What is known of the endpoint beside its circuit and its link.
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
    pub(super) async fn run(self) {
        let mut links = self.connection.watch();
        let mut statuses = self.circuit.watch();
        let mut health = Health {
            attempt: 0,
            finding: None,
            next: Instant::now(),
        };
        let mut asking: Option<Asking> = None;
        let mut following: Option<Asking> = None;
        let mut suspicion = false;
        let mut told_down: u64 = 0;
        let mut was_open = false;
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
                // Hard evidence: nobody is there.
                self.circuit.hard_failure(reason);
            }
            let wants_probe = link.is_up() && !self.is_well(&link, &status, &health);
            suspicion &= asking.is_some();
            if !wants_probe && !suspicion {
                asking = None;
            } else if wants_probe
                && asking.is_none()
                && (health.attempt != link.attempt || Instant::now() >= health.next)
            {
                asking = Some(self.ask(&link, status.generation));
            }
            if wants_probe || !link.is_up() {
                following = None;
            } else if following
                .as_ref()
                .is_none_or(|following| following.attempt != link.attempt)
            {
                following = Some(self.follow(&link, status.generation));
            }
            self.publish(&link, &status, &health);

            // In order, so that the same events at the same moment always have the same effect: what is certain first.
            tokio::select! {
                biased;
                changed = links.changed() => if changed.is_err() { return },
                changed = statuses.changed() => if changed.is_err() { return },
                finding = answer(&mut asking) => {
                    if let Some(asked) = asking.take() {
                        self.found(asked, finding, &mut health);
                    }
                }
                finding = answer(&mut following) => {
                    if let Some(followed) = following.take() {
                        self.found(followed, finding, &mut health);
                    }
                }
                () = self.suspected.notified(), if asking.is_none() && link.is_up() => {
                    asking = Some(self.ask(&link, status.generation));
                    suspicion = true;
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

    fn ask(&self, link: &Link, generation: u64) -> Asking {
        let asking = self
            .probe
            .ask(link.clone(), self.connection.origin().clone(), self.timeout);
        Asking {
            attempt: link.attempt,
            generation,
            answer: Box::pin(asking),
        }
    }

    fn follow(&self, link: &Link, generation: u64) -> Asking {
        let (probe, link, origin) = (self.probe.clone(), link.clone(), self.connection.origin().clone());
        Asking {
            attempt: link.attempt,
            generation,
            answer: Box::pin(async move { probe.follow(link, origin).await }),
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
        metrics::counter!(
            metric_names::PROBES,
            "target" => self.target.to_string(),
            "endpoint" => self.endpoint.to_string(),
            "result" => result,
        )
        .increment(1);
        tracing::debug!(
            target_name = &*self.target,
            endpoint = &*self.endpoint,
            result,
            "probed"
        );
        health.attempt = asked.attempt;
        health.finding = Some(finding);
        health.next = Instant::now() + jittered(self.interval);
    }

    fn publish(&self, link: &Link, status: &CircuitStatus, health: &Health) {
        let now = self.judge(link, status, health);
        let before = self.standing.borrow().clone();
        if now == before {
            return;
        }
        if now == Standing::Ready && matches!(before, Standing::Trial | Standing::Out { .. }) {
            self.load.ramp_up(Instant::now());
        }
        self.standing.send_replace(now);
        self.changed.send_modify(|changes| *changes += 1);
    }

    fn judge(&self, link: &Link, status: &CircuitStatus, health: &Health) -> Standing {
        // What was out stays out until it is known to be well; everything else is worth waiting for.
        let unknown = || match &*self.standing.borrow() {
            out @ Standing::Out {
                why: Out::NotConnected(_) | Out::Unwell(_),
                ..
            } => out.clone(),
            _ => Standing::Waiting,
        };
        if status.state == CircuitState::Open {
            let retry_at = match &link.state {
                LinkState::Down { retry_at, .. } => *retry_at,
                LinkState::Connecting | LinkState::Up(_) => health.next,
            };
            return Standing::Out {
                why: Out::CircuitOpen(status.evidence.clone()),
                retry_at: Some(retry_at),
            };
        }
        match &link.state {
            LinkState::Down { reason, retry_at } => Standing::Out {
                why: Out::NotConnected(reason.clone()),
                retry_at: Some(*retry_at),
            },
            LinkState::Connecting => unknown(),
            LinkState::Up(_) if health.attempt != link.attempt => unknown(),
            LinkState::Up(_) => match &health.finding {
                None => unknown(),
                Some(Finding::Unwell(reason)) => Standing::Out {
                    why: Out::Unwell(reason.as_str().into()),
                    retry_at: Some(health.next),
                },
                Some(Finding::Well) if status.state == CircuitState::HalfOpen => Standing::Trial,
                Some(Finding::Well) => Standing::Ready,
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
