//! The relay: carries the outbox to the queue.
//!
//! Entries are claimed in batches, published with one call a topic, and then marked. While the queue has still to
//! acknowledge one batch, the next are claimed and sent behind it. A crash between the publishing and the marking
//! publishes them again when the claim's lease ends: at least once, and a message is only a wake-up call. While the
//! queue is away the claimed batches are kept and tried again with growing waits; work is taken in and done meanwhile,
//! and the outbox grows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use safelight_database::{Database, Error, OutboxEntry};
use safelight_service::Shutdown;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::backoff::Backoff;
use crate::{Publishing, Queue, QueueError};

/// The publishing side of a queue, in two stages.
pub trait Publish: Send + Sync + 'static {
    /// What waits for an acknowledgement.
    type Publishing: Send;

    /// Queues `bodies` for `topic`, in the order of the calls.
    fn enqueue(&self, topic: &str, bodies: &[Bytes]) -> impl Future<Output = Self::Publishing> + Send;

    /// `Ok` means that the queue answers for all of them from now on.
    ///
    /// # Errors
    /// Why it does not, or is not known to; the relay tries again.
    fn wait(&self, publishing: Self::Publishing) -> impl Future<Output = Result<(), QueueError>> + Send;
}

impl Publish for Queue {
    type Publishing = Publishing;

    async fn enqueue(&self, topic: &str, bodies: &[Bytes]) -> Publishing {
        Queue::enqueue(self, topic, bodies).await
    }

    async fn wait(&self, publishing: Publishing) -> Result<(), QueueError> {
        publishing.wait().await
    }
}

/// No claim of the outbox takes more.
const MOST_ENTRIES: u32 = 10_000;

/// How a relay works. The defaults suit every deployment known so far.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// The most entries published at once: 2,000, more than one usual bulk post, so that a batch is seldom full
    /// and then followed by a claim of nothing.
    pub batch: u32,
    /// How many batches may be under way at a time: 4. While the queue has still to acknowledge the first, the others
    /// are claimed and sent behind it.
    pub pipeline: usize,
    /// For how long claimed entries are kept from other relays: 30 s.
    pub lease: Duration,
    /// How often the outbox is looked at when nobody wakes the relay: 1 s. Finds what a crashed receiver left.
    pub poll: Duration,
    /// The least time between two batches that were not full: 20 ms. A lone post is published at once; under
    /// load several commits share a batch.
    pub gather: Duration,
    /// The first wait after a failure, doubling: 100 ms.
    pub first_wait: Duration,
    /// The longest wait after a failure: 3 s.
    pub longest_wait: Duration,
    /// How often the length of the outbox is counted, for the metrics: 15 s.
    pub count: Duration,
    /// For how long a stopping relay goes on publishing what is there: 2 s.
    pub farewell: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            batch: 2000,
            pipeline: 4,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            gather: Duration::from_millis(20),
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(3),
            count: Duration::from_secs(15),
            farewell: Duration::from_secs(2),
        }
    }
}

/// Carries the outbox of one database to one queue. Any number may work on the same outbox.
pub struct Relay<P: Publish> {
    database: Database,
    queue: P,
    wake: Arc<Notify>,
    settings: RelaySettings,
    backoff: Backoff,
    /// Batches that could not be published or marked, to be tried again before any more is claimed.
    held: VecDeque<Batch>,
    /// Batches that the queue has still to acknowledge, in the order in which they were sent.
    sent: VecDeque<Sent<P::Publishing>>,
    queue_there: Presence,
    database_there: Presence,
}

/// Entries that this relay has claimed, and that the database has not yet as published.
#[derive(Default)]
struct Batch {
    until: Option<Instant>,
    unpublished: BTreeMap<String, Vec<OutboxEntry>>,
    /// Acknowledged by the queue, by their ids.
    unmarked: Vec<i64>,
}

struct Sent<P> {
    batch: Batch,
    publishing: Vec<(String, P)>,
}

/// What a round came to.
#[derive(Debug, PartialEq, Eq)]
enum Round {
    /// There may be more.
    Full,
    /// Fewer than a full batch were there, or none, and everything is published.
    Drained,
    /// Something was away; to be left alone for so long.
    Away(Duration),
}

// === impl Relay ===

impl<P: Publish> Relay<P> {
    /// A relay that looks at the outbox whenever `wake` is notified, and now and then by itself.
    pub fn new(database: Database, queue: P, wake: Arc<Notify>, mut settings: RelaySettings) -> Self {
        settings.batch = settings.batch.clamp(1, MOST_ENTRIES);
        Self {
            database,
            queue,
            wake,
            backoff: Backoff::new(settings.first_wait, settings.longest_wait),
            settings,
            held: VecDeque::new(),
            sent: VecDeque::new(),
            queue_there: Presence::new("queue"),
            database_there: Presence::new("database"),
        }
    }

    /// Works until `shutdown`, and then publishes what is left while both sides are there, for at most
    /// [`RelaySettings::farewell`]. What is left behind is published by another relay or the next start.
    pub async fn run(mut self, shutdown: Shutdown) {
        let farewell = self.settings.farewell;
        let too_long = async {
            shutdown.triggered().await;
            sleep(farewell).await;
        };
        tokio::select! {
            () = self.work(&shutdown) => {}
            () = too_long => {}
        }
    }

    async fn work(&mut self, shutdown: &Shutdown) {
        let mut counted = None;
        while !shutdown.is_triggered() {
            let started = Instant::now();
            if counted.is_none_or(|at| started - at >= self.settings.count) {
                self.count().await;
                counted = Some(started);
            }
            match self.round().await {
                Round::Full => {}
                Round::Drained => tokio::select! {
                    () = async {
                        self.wake.notified().await;
                        sleep_until(started + self.settings.gather).await;
                    } => {}
                    () = sleep(self.settings.poll) => {}
                    () = shutdown.triggered() => {}
                },
                Round::Away(wait) => tokio::select! {
                    () = sleep(wait) => {}
                    () = shutdown.triggered() => {}
                },
            }
        }
        // What is cut off under way is published again by somebody else, so let it be little.
        self.settings.pipeline = 1;
        while self.round().await == Round::Full {}
    }

    /// Sends one batch more, and waits for those before it as far as need be.
    async fn round(&mut self) -> Round {
        let sent = self.send().await;
        let full = matches!(sent, Ok(entries) if entries == self.settings.batch as usize);
        let more = full || !self.held.is_empty();
        // After a failure nothing is sent behind a batch before that one has gone well.
        let ahead = sent.is_ok() && more && !self.backoff.is_failing();
        let unsettled = if ahead {
            self.settings.pipeline.saturating_sub(1)
        } else {
            0
        };
        let settled = self.settle(unsettled).await;
        match (sent, settled) {
            (Ok(entries), Ok(())) => {
                // To have nothing to send is no proof that the queue is back.
                if entries > 0 || !self.queue_there.is_away() {
                    self.backoff.succeed();
                }
                if more { Round::Full } else { Round::Drained }
            }
            _ => Round::Away(self.backoff.fail()),
        }
    }

    /// Sends a batch that is held, or else claims one, and returns how many entries it has.
    async fn send(&mut self) -> Result<usize, Interrupted> {
        let now = Instant::now();
        // When the lease has ended, others publish what is not published; what is, is still to be marked.
        for batch in &mut self.held {
            if batch.until.is_some_and(|until| until <= now) {
                batch.unpublished.clear();
            }
        }
        self.held.retain(|batch| !batch.is_done());
        let batch = match self.held.pop_front() {
            Some(batch) => batch,
            None => self.claim().await?,
        };
        let entries = batch.entries();
        if entries == 0 {
            return Ok(0);
        }
        let mut publishing = Vec::with_capacity(batch.unpublished.len());
        for (topic, entries) in &batch.unpublished {
            let bodies: Vec<Bytes> = entries.iter().map(|entry| entry.body.clone().into()).collect();
            publishing.push((topic.clone(), self.queue.enqueue(topic, &bodies).await));
        }
        self.sent.push_back(Sent { batch, publishing });
        Ok(entries)
    }

    async fn claim(&mut self) -> Result<Batch, Interrupted> {
        // Counted from before the claim, so that it never ends later here than in the database.
        let until = Instant::now() + self.settings.lease;
        let claimed = self
            .database
            .outbox()
            .claim(self.settings.batch, self.settings.lease)
            .await;
        let entries = self.database_there.judge(claimed)?;
        let mut batch = Batch {
            until: Some(until),
            ..Batch::default()
        };
        for entry in entries {
            let topic = batch.unpublished.entry(entry.topic.clone());
            topic.or_default().push(entry);
        }
        Ok(batch)
    }

    /// Waits for acknowledgements until only so many batches are unsettled, and marks what was acknowledged. After a
    /// failure all of them are settled: done, or held.
    async fn settle(&mut self, mut unsettled: usize) -> Result<(), Interrupted> {
        let mut outcome = Ok(());
        let mut batches = Vec::new();
        while self.sent.len() > unsettled
            && let Some(Sent {
                mut batch,
                publishing,
            }) = self.sent.pop_front()
        {
            for (topic, publishing) in publishing {
                let published = self.queue.wait(publishing).await;
                match self.queue_there.judge(published) {
                    Ok(()) => batch.acknowledge(&topic),
                    Err(interrupted) => {
                        unsettled = 0;
                        outcome = Err(interrupted);
                    }
                }
            }
            batches.push(batch);
        }
        if let Err(interrupted) = self.mark(&mut batches).await {
            outcome = Err(interrupted);
        }
        self.held
            .extend(batches.into_iter().filter(|batch| !batch.is_done()));
        outcome
    }

    async fn mark(&mut self, batches: &mut [Batch]) -> Result<(), Interrupted> {
        let ids: Vec<i64> = batches
            .iter()
            .flat_map(|batch| &batch.unmarked)
            .copied()
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let marked = self.database.outbox().mark_published(&ids).await;
        self.database_there.judge(marked)?;
        metrics::counter!("safelight_relay_published_total").increment(ids.len() as u64);
        for batch in batches {
            batch.unmarked.clear();
        }
        Ok(())
    }

    async fn count(&mut self) {
        let counted: Result<u64, Error> = self.database.outbox().pending().await;
        if let Ok(entries) = self.database_there.judge(counted) {
            metrics::gauge!("safelight_outbox_entries").set(entries as f64);
        }
    }
}

// === impl Batch ===

impl Batch {
    fn entries(&self) -> usize {
        let unpublished: usize = self.unpublished.values().map(Vec::len).sum();
        unpublished + self.unmarked.len()
    }

    fn is_done(&self) -> bool {
        self.entries() == 0
    }

    fn acknowledge(&mut self, topic: &str) {
        let entries = self.unpublished.remove(topic).unwrap_or_default();
        self.unmarked.extend(entries.into_iter().map(|entry| entry.id));
    }
}

/// The round could not be finished; the reason was logged.
#[derive(Debug)]
struct Interrupted;

/// Whether one of the two sides was there when last used. A change is one log line, and none comes between.
struct Presence {
    name: &'static str,
    there: Option<bool>,
}

impl Presence {
    fn new(name: &'static str) -> Self {
        Self { name, there: None }
    }

    /// Whether it was not there when last used.
    fn is_away(&self) -> bool {
        self.there == Some(false)
    }

    fn judge<T, E: std::fmt::Display>(&mut self, result: Result<T, E>) -> Result<T, Interrupted> {
        let there = result.is_ok();
        let before = self.there.replace(there);
        metrics::gauge!("safelight_relay_there", "side" => self.name).set(if there { 1.0 } else { 0.0 });
        match (before, result) {
            (Some(false), Ok(value)) => {
                tracing::info!(side = self.name, "the relay goes on");
                Ok(value)
            }
            (_, Ok(value)) => Ok(value),
            (Some(false), Err(_)) => Err(Interrupted),
            (_, Err(reason)) => {
                tracing::warn!(side = self.name, %reason, "the relay waits; nothing is lost meanwhile");
                Err(Interrupted)
            }
        }
    }
}
