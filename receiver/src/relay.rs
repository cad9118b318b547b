//! The relay: carries the outbox to the queue.
//!
//! Entries are claimed in batches, published with one call a topic, and then marked. A crash between the
//! publishing and the marking publishes them again when the claim's lease ends: at least once, and a message
//! is only a wake-up call. While the queue is away the claimed batch is kept and tried again with growing
//! waits; the receiver accepts meanwhile, and the outbox grows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use safelight_database::{Database, Error};
use safelight_queue::Queue;
use safelight_service::Shutdown;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::backoff::Backoff;

/// The publishing side of a queue.
pub trait Publish: Send + Sync + 'static {
    /// Publishes all of `bodies` to `topic`, or none that is known of. `Ok` means that the queue answers for
    /// them from now on.
    ///
    /// # Errors
    /// Why it could not, in words for the log; the relay tries again.
    fn publish(&self, topic: &str, bodies: &[Bytes]) -> impl Future<Output = Result<(), String>> + Send;
}

impl Publish for Queue {
    async fn publish(&self, topic: &str, bodies: &[Bytes]) -> Result<(), String> {
        Queue::publish(self, topic, bodies)
            .await
            .map_err(|error| error.to_string())
    }
}

/// How a relay works. The defaults suit every deployment known so far.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// The most entries published at once: 2,000, more than one usual bulk post, so that a batch is seldom full
    /// and then followed by a claim of nothing.
    pub batch: u32,
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
pub struct Relay<P> {
    database: Database,
    queue: P,
    wake: Arc<Notify>,
    settings: RelaySettings,
    backoff: Backoff,
    held: Option<Held>,
    queue_there: Presence,
    database_there: Presence,
}

/// Entries that this relay has claimed and not yet marked.
struct Held {
    until: Instant,
    ids: Vec<i64>,
    /// What is not yet published, by topic.
    unpublished: BTreeMap<String, Vec<Bytes>>,
}

/// What a round came to.
#[derive(Debug, PartialEq, Eq)]
enum Round {
    /// A full batch was published; there may be more.
    Full,
    /// Fewer than a full batch were published, or none was there.
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
            held: None,
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

    /// Claims unless a batch is held, publishes, marks.
    async fn round(&mut self) -> Round {
        match self.carry().await {
            Ok(entries) => {
                self.backoff.succeed();
                if entries == self.settings.batch as usize {
                    Round::Full
                } else {
                    Round::Drained
                }
            }
            Err(Interrupted) => Round::Away(self.backoff.fail()),
        }
    }

    async fn carry(&mut self) -> Result<usize, Interrupted> {
        let mut held = match self.held.take().filter(|held| Instant::now() < held.until) {
            Some(held) => held,
            None => self.claim().await?,
        };
        if held.ids.is_empty() {
            return Ok(0);
        }
        if let Err(interrupted) = self.publish_and_mark(&mut held).await {
            self.held = Some(held);
            return Err(interrupted);
        }
        metrics::counter!("safelight_relay_published_total").increment(held.ids.len() as u64);
        Ok(held.ids.len())
    }

    async fn claim(&mut self) -> Result<Held, Interrupted> {
        // Counted from before the claim, so that it never ends later here than in the database.
        let until = Instant::now() + self.settings.lease;
        let claimed = self
            .database
            .outbox()
            .claim(self.settings.batch, self.settings.lease)
            .await;
        let entries = self.database_there.judge(claimed)?;
        let mut held = Held {
            until,
            ids: Vec::with_capacity(entries.len()),
            unpublished: BTreeMap::new(),
        };
        for entry in entries {
            held.ids.push(entry.id);
            held.unpublished
                .entry(entry.topic)
                .or_default()
                .push(entry.body.into());
        }
        Ok(held)
    }

    async fn publish_and_mark(&mut self, held: &mut Held) -> Result<(), Interrupted> {
        while let Some(topic) = held.unpublished.first_entry() {
            let published = self.queue.publish(topic.key(), topic.get()).await;
            self.queue_there.judge(published)?;
            topic.remove();
        }
        let marked = self.database.outbox().mark_published(&held.ids).await;
        self.database_there.judge(marked)
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
