//! The task that keeps a consumer's links: which nsqds, how much of `max_in_flight` each, until when.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, trace};

use super::flow::Wishes;
use super::link::{Lifetime, Link, LinkEvent, Shared};
use super::{ConsumerState, Drained};
use crate::error::ConnectionError;

/// After the deadline of a drain, how long the last requeues may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Whether an orderly end was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closing {
    No,
    /// With a deadline, or for as long as the messages' own deadlines allow.
    Asked(Option<Instant>),
}

pub(super) struct Coordinator {
    shared: Arc<Shared>,
    wishes: watch::Receiver<Wishes>,
    found: watch::Receiver<BTreeSet<String>>,
    /// Asks the discovery for a poll soon.
    hint: Arc<Notify>,
    state: watch::Sender<ConsumerState>,
    entries: HashMap<String, Entry>,
    links: JoinSet<String>,
    events: mpsc::UnboundedReceiver<(String, LinkEvent)>,
    event_sender: mpsc::UnboundedSender<(String, LinkEvent)>,
    last_error: Option<ConnectionError>,
}

/// One nsqd.
struct Entry {
    lifetime: watch::Sender<Lifetime>,
    /// The generation of its connection.
    connected: Option<u64>,
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
        let (event_sender, events) = mpsc::unbounded_channel();
        Self {
            shared,
            wishes,
            found,
            hint,
            state,
            entries: HashMap::new(),
            links: JoinSet::new(),
            events,
            event_sender,
            last_error: None,
        }
    }

    /// Runs until an end is asked for and everything is done.
    pub(super) async fn run(mut self, mut closing: watch::Receiver<Closing>) {
        self.update_links();
        self.apply_wishes();
        self.steer(closing.clone()).await;
        let finished_before = self.shared.counters.finished.load(Ordering::Relaxed);
        self.shared.inbox.close();
        for entry in self.entries.values() {
            entry.lifetime.send_replace(Lifetime::UntilDrained);
        }
        self.publish_state();
        self.drain(&mut closing).await;
        let finished = self.shared.counters.finished.load(Ordering::Relaxed) - finished_before;
        let drained = Drained {
            finished: usize::try_from(finished).unwrap_or(usize::MAX),
            requeued: self.shared.given_back.load(Ordering::Relaxed),
            abandoned: self.shared.abandoned.load(Ordering::Relaxed),
        };
        info!(?drained, "consumer closed");
        self.state.send_modify(|state| {
            state.connected = 0;
            state.closed = true;
            state.drained = Some(drained);
        });
    }

    /// Normal operation, until an end is asked for.
    async fn steer(&mut self, mut closing: watch::Receiver<Closing>) {
        loop {
            let next_change = self.rebalance();
            self.publish_state();
            let wake_at = next_change.unwrap_or_else(Instant::now);
            tokio::select! {
                // An error means that nobody is left who could want anything else.
                _ = closing.wait_for(|closing| *closing != Closing::No) => return,
                Some((address, event)) = self.events.recv() => self.take(&address, event),
                Some(ended) = self.links.join_next() => self.forget(ended.ok()),
                Ok(()) = self.found.changed() => self.update_links(),
                Ok(()) = self.wishes.changed() => self.apply_wishes(),
                () = self.shared.signal.answered.notified() => {}
                () = sleep_until(wake_at), if next_change.is_some() => {}
            }
        }
    }

    /// Waits for all links to end, and ends them at the deadline, which may still be brought forward.
    async fn drain(&mut self, closing: &mut watch::Receiver<Closing>) {
        loop {
            let deadline = match *closing.borrow_and_update() {
                Closing::Asked(deadline) => deadline,
                Closing::No => None,
            };
            let at = deadline.unwrap_or_else(Instant::now);
            tokio::select! {
                ended = self.links.join_next() => match ended {
                    Some(ended) => trace!(nsqd = ?ended.ok(), "link ended"),
                    None => return,
                },
                Ok(()) = closing.changed() => {}
                () = sleep_until(at), if deadline.is_some() => break,
            }
        }
        self.shared.late.cancel();
        let ended = async { while self.links.join_next().await.is_some() {} };
        if timeout(LAST_WORDS, ended).await.is_err() {
            self.shared.kill.cancel();
            while self.links.join_next().await.is_some() {}
        }
    }

    fn take(&mut self, address: &str, event: LinkEvent) {
        let Some(entry) = self.entries.get_mut(address) else {
            return;
        };
        match event {
            LinkEvent::Connected {
                generation,
                max_rdy,
                flow,
            } => {
                self.shared.flow.add(generation, max_rdy, flow);
                entry.connected = Some(generation);
            }
            LinkEvent::Lost { generation, error } => {
                if let Some(generation) = generation {
                    self.shared.flow.remove(generation);
                    // It may have moved.
                    self.hint.notify_one();
                }
                entry.connected = None;
                self.shared
                    .counters
                    .connection_failures
                    .fetch_add(1, Ordering::Relaxed);
                self.last_error = Some(error);
            }
        }
    }

    /// A link has ended by itself, as nsqlookupd no longer names its nsqd.
    fn forget(&mut self, address: Option<String>) {
        let entry = address.and_then(|address| self.entries.remove(&address));
        if let Some(generation) = entry.and_then(|entry| entry.connected) {
            self.shared.flow.remove(generation);
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
        self.shared.flow.apply(wishes);
    }

    /// Gives everyone the RDY that is right now; tells when to look again.
    fn rebalance(&mut self) -> Option<Instant> {
        // Before the gauges are read: an answer from now on wakes us, one before is read here.
        let wanted = &self.shared.signal.wanted;
        wanted.store(true, Ordering::SeqCst);
        let outlook = self.shared.flow.rebalance(Instant::now());
        wanted.store(outlook.waits_for_answers, Ordering::SeqCst);
        outlook.next_change
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
            backoff: self.shared.flow.backoff(),
            closed: false,
            drained: None,
            last_error: self.last_error.clone(),
        };
        self.state.send_if_modified(|state| {
            let differs = state.differs(&fresh);
            *state = fresh;
            differs
        });
    }
}
