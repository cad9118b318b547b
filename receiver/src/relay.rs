//! The relay: carries the outbox to the queue.
//!
//! Entries are claimed in batches, published with one call a topic, and then marked. While the queue has still to
//! acknowledge one batch, the next are claimed and sent behind it. A crash between the publishing and the marking
//! publishes them again when the claim's lease ends: at least once, and a message is only a wake-up call. While the
//! queue is away the claimed batches are kept and tried again with growing waits; the receiver accepts meanwhile, and
//! the outbox grows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use safelight_database::{Database, Error};
use safelight_queue::{Publishing, Queue, QueueError};
use safelight_service::Shutdown;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::backoff::Backoff;

/// The publishing side of a queue, in two stages.
pub trait Publish: Send + Sync + 'static {
    /// What waits for an acknowledgement.
    type Publishing: Send;

    /// Queues `bodies` for `topic`, in the order of the calls.
    ///
    /// # Errors
    /// Why it could not; the relay tries again.
    fn enqueue(
        &self,
        topic: &str,
        bodies: &[Bytes],
    ) -> impl Future<Output = Result<Self::Publishing, QueueError>> + Send;

    /// `Ok` means that the queue answers for all of them from now on.
    ///
    /// # Errors
    /// Why it does not, or is not known to; the relay tries again.
    fn wait(&self, publishing: Self::Publishing) -> impl Future<Output = Result<(), QueueError>> + Send;
}

impl Publish for Queue {
    type Publishing = Publishing;

    async fn enqueue(&self, topic: &str, bodies: &[Bytes]) -> Result<Publishing, QueueError> {
        Queue::enqueue(self, topic, bodies).await
    }

    async fn wait(&self, publishing: Publishing) -> Result<(), QueueError> {
        publishing.wait().await
    }
}

/// How a relay works. The defaults suit every deployment known so far.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// The most entries published at once: 2,000, more than one usual bulk post, so that a batch is seldom full
    /// and then followed by a claim of nothing.
    pub batch: u32,
    /// How many batches may wait for the queue's acknowledgement while more are claimed: 4.
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

/// Entries that this relay has claimed and not yet marked.
struct Batch {
    until: Instant,
    ids: Vec<i64>,
    /// What is not yet published, by topic.
    unpublished: BTreeMap<String, Vec<Bytes>>,
}

struct Sent<P> {
    batch: Batch,
    topics: Vec<(String, Result<P, QueueError>)>,
}

/// What a round came to.
#[derive(Debug, PartialEq, Eq)]
enum Round {
    /// A full batch was sent; there may be more.
    Full,
    /// Fewer than a full batch were there, or none, and everything is published.
    Drained,
    /// Something was away; to be left alone for so long.
    Away(Duration),
}

// === impl Relay ===

impl<P: Publish> Relay<P> {
    /// A relay that looks at the outbox whenever `wake` is notified, and now and then by itself.
    pub fn new(database: Database, queue: P, wake: Arc<Notify>, settings: RelaySettings) -> Self {
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
        let farewell = self.settings.farewell;
        let leaving = async { while self.round().await == Round::Full {} };
        // What is not done by then is left to the next start.
        let _ = timeout(farewell, leaving).await;
    }

    /// Sends one batch more, and waits for those before it as far as need be.
    async fn round(&mut self) -> Round {
        let entries = match self.send().await {
            Ok(entries) => entries,
            Err(Interrupted) => return Round::Away(self.backoff.fail()),
        };
        let more = entries == self.settings.batch as usize || !self.held.is_empty();
        // After a failure nothing is sent behind a batch before that one has gone well.
        let ahead = more && !self.backoff.is_failing();
        let unsettled = if ahead {
            self.settings.pipeline.saturating_sub(1)
        } else {
            0
        };
        if let Err(Interrupted) = self.settle(unsettled).await {
            return Round::Away(self.backoff.fail());
        }
        self.backoff.succeed();
        if more { Round::Full } else { Round::Drained }
    }

    /// Sends a batch that is held, or else claims one, and returns how many entries it has.
    async fn send(&mut self) -> Result<usize, Interrupted> {
        let now = Instant::now();
        self.held.retain(|batch| now < batch.until);
        let batch = match self.held.pop_front() {
            Some(batch) => batch,
            None => self.claim().await?,
        };
        let entries = batch.ids.len();
        if entries == 0 {
            return Ok(0);
        }
        let mut topics = Vec::with_capacity(batch.unpublished.len());
        for (topic, bodies) in &batch.unpublished {
            topics.push((topic.clone(), self.queue.enqueue(topic, bodies).await));
        }
        self.sent.push_back(Sent { batch, topics });
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
            until,
            ids: Vec::with_capacity(entries.len()),
            unpublished: BTreeMap::new(),
        };
        for entry in entries {
            batch.ids.push(entry.id);
            batch
                .unpublished
                .entry(entry.topic)
                .or_default()
                .push(entry.body.into());
        }
        Ok(batch)
    }

    /// Waits for acknowledgements and marks what was published, until only so many batches are unsettled. After a
    /// failure all of them are settled: published or held.
    async fn settle(&mut self, mut unsettled: usize) -> Result<(), Interrupted> {
        let mut outcome = Ok(());
        while self.sent.len() > unsettled
            && let Some(Sent { mut batch, topics }) = self.sent.pop_front()
        {
            if let Err(interrupted) = self.publish_and_mark(&mut batch, topics).await {
                self.held.push_back(batch);
                unsettled = 0;
                outcome = Err(interrupted);
            }
        }
        outcome
    }

    async fn publish_and_mark(
        &mut self,
        batch: &mut Batch,
        topics: Vec<(String, Result<P::Publishing, QueueError>)>,
    ) -> Result<(), Interrupted> {
        for (topic, publishing) in topics {
            let published = match publishing {
                Ok(publishing) => self.queue.wait(publishing).await,
                Err(error) => Err(error),
            };
            if self.queue_there.judge(published).is_ok() {
                batch.unpublished.remove(&topic);
            }
        }
        if !batch.unpublished.is_empty() {
            return Err(Interrupted);
        }
        let marked = self.database.outbox().mark_published(&batch.ids).await;
        self.database_there.judge(marked)?;
        metrics::counter!("safelight_relay_published_total").increment(batch.ids.len() as u64);
        Ok(())
    }

    async fn count(&mut self) {
        let counted: Result<u64, Error> = self.database.outbox().pending().await;
        if let Ok(entries) = self.database_there.judge(counted) {
            metrics::gauge!("safelight_outbox_entries").set(entries as f64);
        }
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
