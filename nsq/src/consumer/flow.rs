//! What every connection of a consumer may have in flight, now: the shares, the throttle, and the way to
//! those who send RDY.
//!
//! It is behind a lock, as two sides act on it. The coordinator does when connections come and go, wishes
//! change and turns end. A connection's own task does when an answer changes the backoff, because the RDY
//! that follows has to go out before that very answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::RngExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, trace};

use super::link::{Gauge, LinkCommand};
use super::rdy::{Gate, Shares};
use super::state::NsqdState;
use super::throttle::{BackoffPolicy, BackoffState, Throttle, Verdict};

/// What the user wants, as set by [`ConsumerControl`](super::ConsumerControl).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) max_in_flight: u32,
    pub(super) paused: bool,
}

pub(super) struct Flow {
    inner: Mutex<Inner>,
    /// Whether answers can change anything, so that those that cannot need no lock.
    backs_off: bool,
    throttled: AtomicBool,
}

struct Inner {
    shares: Shares,
    throttle: Throttle,
    paused: bool,
    connections: HashMap<u64, FlowLink>,
}

/// A connection whose RDY is steered.
#[derive(Debug)]
pub(super) struct FlowLink {
    pub(super) address: String,
    pub(super) commands: mpsc::UnboundedSender<LinkCommand>,
    pub(super) gauge: Arc<Gauge>,
}

/// What is left to do after a [`Flow::rebalance`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Outlook {
    /// When to look again though nothing else happens.
    pub(super) next_change: Option<Instant>,
    /// Whether an answer to a message makes room that somebody waits for.
    pub(super) waits_for_answers: bool,
}

// === impl Flow ===

impl Flow {
    pub(super) fn new(shares: Shares, policy: BackoffPolicy) -> Self {
        Self {
            inner: Mutex::new(Inner {
                shares,
                throttle: Throttle::new(policy),
                paused: false,
                connections: HashMap::new(),
            }),
            backs_off: policy != BackoffPolicy::Off,
            throttled: AtomicBool::new(false),
        }
    }

    pub(super) fn add(&self, generation: u64, max_rdy: u32, link: FlowLink) {
        let mut inner = self.lock();
        inner.shares.add(generation, max_rdy, Instant::now());
        inner.connections.insert(generation, link);
    }

    pub(super) fn remove(&self, generation: u64) {
        let mut inner = self.lock();
        inner.shares.remove(generation, Instant::now());
        inner.connections.remove(&generation);
    }

    pub(super) fn apply(&self, wishes: Wishes) {
        let mut inner = self.lock();
        inner.shares.set_max_in_flight(wishes.max_in_flight);
        inner.paused = wishes.paused;
        inner.set_gate();
    }

    pub(super) fn backoff(&self) -> BackoffState {
        self.lock().throttle.state()
    }

    /// How many messages are handed out or wait to be, all connections together.
    pub(super) fn in_flight(&self) -> usize {
        let inner = self.lock();
        let gauges = inner.connections.values().map(|link| &link.gauge);
        gauges
            .map(|gauge| gauge.in_flight.load(Ordering::Relaxed) as usize)
            .sum()
    }

    /// How every connection is doing, by address.
    pub(super) fn connections(&self) -> Vec<NsqdState> {
        let inner = self.lock();
        let mut connections: Vec<NsqdState> = inner.connections.values().map(FlowLink::state).collect();
        connections.sort_unstable_by(|left, right| left.nsqd.cmp(&right.nsqd));
        connections
    }

    /// Gives everyone the RDY that is right now.
    pub(super) fn rebalance(&self, now: Instant) -> Outlook {
        let mut inner = self.lock();
        if inner.throttle.wake(now) {
            debug!(
                level = inner.throttle.state().level(),
                "backoff: one message as a test"
            );
            inner.shares.begin_test(rand::rng().random());
            inner.set_gate();
        }
        inner.rebalance(now);
        let waking = match inner.throttle.state() {
            BackoffState::Waiting { until, .. } => Some(until),
            _ => None,
        };
        Outlook {
            next_change: inner.shares.next_change().into_iter().chain(waking).min(),
            waits_for_answers: inner.shares.waits_for_answers(),
        }
    }

    /// Takes what the answer to a message says, before it is sent. Where that changes the backoff, everyone
    /// has been given their RDY, and the result is true.
    pub(super) fn judge(&self, verdict: Verdict) -> bool {
        if !self.backs_off || (verdict != Verdict::Failure && !self.throttled.load(Ordering::Acquire)) {
            return false;
        }
        let now = Instant::now();
        let mut inner = self.lock();
        let before = inner.throttle.state().level();
        if !inner.throttle.take(verdict, now, &mut rand::rng()) {
            return false;
        }
        let level = inner.throttle.state().level();
        self.throttled.store(level > 0, Ordering::Release);
        debug!(before, level, "backoff");
        inner.set_gate();
        inner.rebalance(now);
        true
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under the lock can panic half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl FlowLink ===

impl FlowLink {
    fn state(&self) -> NsqdState {
        NsqdState {
            nsqd: self.address.clone(),
            rdy: self.gauge.target.load(Ordering::Relaxed),
            in_flight: self.gauge.in_flight.load(Ordering::Relaxed),
            received: self.gauge.received.load(Ordering::Relaxed),
        }
    }
}

// === impl Inner ===

impl Inner {
    fn set_gate(&mut self) {
        self.shares.set_gate(match self.throttle.state() {
            _ if self.paused => Gate::Closed,
            BackoffState::Inactive => Gate::Open,
            BackoffState::Waiting { .. } => Gate::Closed,
            BackoffState::Testing { .. } => Gate::Test,
        });
    }

    fn rebalance(&mut self, now: Instant) {
        for (&generation, link) in &self.connections {
            let in_flight = link.gauge.in_flight.load(Ordering::SeqCst);
            let received = link.gauge.received.load(Ordering::Relaxed);
            self.shares.observe(generation, in_flight, received, now);
        }
        for change in self.shares.rebalance(now) {
            if let Some(link) = self.connections.get(&change.connection) {
                trace!(generation = change.connection, rdy = change.rdy, "RDY");
                link.gauge.target.store(change.rdy, Ordering::Release);
                // A connection lost just now is removed by its event.
                let _ = link.commands.send(LinkCommand::Ready);
            }
        }
    }
}
