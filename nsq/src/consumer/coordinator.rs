//! The task that keeps a consumer's links: which nsqds, how much of `max_in_flight` each, until when.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::trace;

use super::link::{Gauge, Lifetime, Link, LinkCommand, LinkEvent, Shared};
use super::rdy::Shares;
use super::{ConsumerState, Drained};
use crate::error::ConnectionError;

/// What the user wants, as set by [`ConsumerControl`](super::ConsumerControl).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) max_in_flight: u32,
    pub(super) paused: bool,
}

/// Asks for an orderly end.
#[derive(Debug)]
pub(super) struct CloseRequest {
    /// `None`: as long as the messages' own deadlines allow.
    pub(super) deadline: Option<Instant>,
    pub(super) drained: oneshot::Sender<Drained>,
}

pub(super) struct Coordinator {
    shared: Arc<Shared>,
    wishes: watch::Receiver<Wishes>,
    found: watch::Receiver<BTreeSet<String>>,
    /// Asks the discovery for a poll soon.
    hint: Arc<Notify>,
    state: watch::Sender<ConsumerState>,
    shares: Shares,
    entries: HashMap<String, Entry>,
    links: JoinSet<String>,
    events: mpsc::UnboundedReceiver<(String, LinkEvent)>,
    event_sender: mpsc::UnboundedSender<(String, LinkEvent)>,
    last_error: Option<ConnectionError>,
}

/// One nsqd.
struct Entry {
    lifetime: watch::Sender<Lifetime>,
    connected: Option<Connected>,
}

struct Connected {
    generation: u64,
    commands: mpsc::UnboundedSender<LinkCommand>,
    gauge: Arc<Gauge>,
}

// === impl Coordinator ===

impl Coordinator {
    pub(super) fn new(
        shared: Arc<Shared>,
        wishes: watch::Receiver<Wishes>,
        found: watch::Receiver<BTreeSet<String>>,
        hint: Arc<Notify>,
        state: watch::Sender<ConsumerState>,
    ) -> Self {
        let config = &shared.config;
        // A lowered RDY is settled when what nsqd gathered before it has been written and read.
        let settling_time = config.connection.output_buffer_timeout + config.settling_time;
        let shares = Shares::new(
            config.max_in_flight,
            settling_time,
            config.idle_turn,
            config.busy_turn,
        );
        let (event_sender, events) = mpsc::unbounded_channel();
        Self {
            shared,
            wishes,
            found,
            hint,
            state,
            shares,
            entries: HashMap::new(),
            links: JoinSet::new(),
            events,
            event_sender,
            last_error: None,
        }
    }

    /// Runs until the close request comes (or its sender is dropped) and is done.
    pub(super) async fn run(mut self, close: oneshot::Receiver<CloseRequest>) {
        self.update_links();
        self.apply_wishes();
        let request = self.steer(close).await;
        self.shared.inbox.close();
        for entry in self.entries.values() {
            entry.lifetime.send_replace(Lifetime::UntilDrained);
        }
        self.publish_state();
        let deadline = request.as_ref().and_then(|request| request.deadline);
        let abandoned = self.drain(deadline).await;
        self.state.send_modify(|state| {
            state.connected = 0;
            state.closed = true;
        });
        if let Some(request) = request {
            let requeued = self.shared.given_back.load(Ordering::Relaxed);
            // Whoever asked may have stopped waiting.
            let _ = request.drained.send(Drained { requeued, abandoned });
        }
    }

    /// Normal operation; ends with the close request, or without one when the consumer is gone.
    async fn steer(&mut self, mut close: oneshot::Receiver<CloseRequest>) -> Option<CloseRequest> {
        loop {
            self.rebalance();
            self.publish_state();
            let next_change = self.shares.next_change();
            let wake_at = next_change.unwrap_or_else(Instant::now);
            tokio::select! {
                request = &mut close => return request.ok(),
                Some((address, event)) = self.events.recv() => self.take(&address, event),
                Some(ended) = self.links.join_next() => self.forget(ended.ok()),
                Ok(()) = self.found.changed() => self.update_links(),
                Ok(()) = self.wishes.changed() => self.apply_wishes(),
                () = self.shared.signal.answered.notified() => {}
                () = sleep_until(wake_at), if next_change.is_some() => {}
            }
        }
    }

    /// Waits for all links to end, and ends them at the deadline; gives back how many messages were
    /// unanswered then.
    async fn drain(&mut self, deadline: Option<Instant>) -> usize {
        let all_ended = async {
            while let Some(ended) = self.links.join_next().await {
                trace!(nsqd = ?ended.ok(), "link ended");
            }
        };
        let Some(deadline) = deadline else {
            all_ended.await;
            return 0;
        };
        tokio::select! {
            () = all_ended => return 0,
            () = sleep_until(deadline) => {}
        }
        let connected = self.entries.values().filter_map(|entry| entry.connected.as_ref());
        let abandoned = connected
            .map(|connected| connected.gauge.in_flight.load(Ordering::Relaxed) as usize)
            .sum();
        self.shared.kill.cancel();
        while self.links.join_next().await.is_some() {}
        abandoned
    }

    fn take(&mut self, address: &str, event: LinkEvent) {
        let Some(entry) = self.entries.get_mut(address) else {
            return;
        };
        match event {
            LinkEvent::Connected {
                generation,
                max_rdy,
                commands,
                gauge,
            } => {
                self.shares.add(generation, max_rdy, Instant::now());
                entry.connected = Some(Connected {
                    generation,
                    commands,
                    gauge,
                });
            }
            LinkEvent::Lost { generation, error } => {
                if let Some(generation) = generation {
                    self.shares.remove(generation);
                }
                entry.connected = None;
                self.shared
                    .counters
                    .connection_failures
                    .fetch_add(1, Ordering::Relaxed);
                self.last_error = Some(error);
                self.hint.notify_one();
            }
        }
    }

    /// A link has ended by itself, as nsqlookupd no longer names its nsqd.
    fn forget(&mut self, address: Option<String>) {
        let entry = address.and_then(|address| self.entries.remove(&address));
        if let Some(connected) = entry.and_then(|entry| entry.connected) {
            self.shares.remove(connected.generation);
        }
        // It may have been named again in the meantime.
        self.update_links();
    }

    /// Makes links for the nsqds configured and discovered, and lets go of those no longer discovered.
    fn update_links(&mut self) {
        let mut wanted = self.found.borrow_and_update().clone();
        wanted.extend(self.shared.config.nsqd.iter().cloned());
        for (address, entry) in &self.entries {
            let lifetime = if wanted.contains(address) {
                Lifetime::Keep
            } else {
                Lifetime::UntilLost
            };
            entry
                .lifetime
                .send_if_modified(|current| std::mem::replace(current, lifetime) != lifetime);
        }
        for address in wanted {
            if !self.entries.contains_key(&address) {
                let entry = self.start_link(address.clone());
                self.entries.insert(address, entry);
            }
        }
    }

    fn start_link(&mut self, address: String) -> Entry {
        let (lifetime, receiver) = watch::channel(Lifetime::Keep);
        let link = Link {
            address: address.clone(),
            shared: self.shared.clone(),
            lifetime: receiver,
            events: self.event_sender.clone(),
        };
        self.links.spawn(async move {
            link.run().await;
            address
        });
        Entry {
            lifetime,
            connected: None,
        }
    }

    fn apply_wishes(&mut self) {
        let wishes = *self.wishes.borrow_and_update();
        self.shares.set_max_in_flight(wishes.max_in_flight);
        self.shares.set_paused(wishes.paused);
    }

    fn rebalance(&mut self) {
        // Before the gauges are read: an answer from now on wakes us, one before is read here.
        let wanted = &self.shared.signal.wanted;
        wanted.store(true, Ordering::Release);
        let now = Instant::now();
        for connected in self.entries.values().filter_map(|entry| entry.connected.as_ref()) {
            let in_flight = connected.gauge.in_flight.load(Ordering::Acquire);
            let received = connected.gauge.received.load(Ordering::Relaxed);
            self.shares
                .observe(connected.generation, in_flight, received, now);
        }
        for change in self.shares.rebalance(now) {
            let mut connected = self.entries.values().filter_map(|entry| entry.connected.as_ref());
            if let Some(connected) = connected.find(|connected| connected.generation == change.connection) {
                trace!(generation = change.connection, rdy = change.rdy, "RDY");
                // A connection lost just now is removed by its event.
                let _ = connected.commands.send(LinkCommand::Ready(change.rdy));
            }
        }
        wanted.store(self.shares.waits_for_answers(), Ordering::Release);
    }

    fn publish_state(&self) {
        let connected = self
            .entries
            .values()
            .filter(|entry| entry.connected.is_some())
            .count();
        let fresh = ConsumerState {
            known: self.entries.len(),
            connected,
            paused: self.wishes.borrow().paused,
            closed: false,
            last_error: self.last_error.clone(),
        };
        self.state.send_if_modified(|state| {
            let differs = state.differs(&fresh);
            *state = fresh;
            differs
        });
    }
}
