//! The back end in a table of the embedded database.
//!
//! A message taken from the table carries a lease. A publish wakes the subscriptions of the same process
//! at once; a timer covers delays, ended leases, and what other processes publish.

mod flow;
mod held;
mod intake;
mod wakeups;

use std::sync::Arc;
use std::time::Duration;

use async_nsq::{Channel, Topic};
use bytes::Bytes;
use safelight_database::EmbeddedQueue;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use flow::Flow;
pub(crate) use held::HeldMessage;
use held::Returns;
use intake::Intake;
use wakeups::Wakeups;

use crate::error::QueueError;
use crate::subscription::Subscription;

/// How the embedded back end keeps time.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedSettings {
    /// How long a delivery may go without an answer or a touch before it is delivered again. Default 60 s.
    pub lease: Duration,
    /// How often the table is looked at for what nobody announced. Default 1 s.
    pub poll_interval: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct EmbeddedBackend {
    table: EmbeddedQueue,
    settings: EmbeddedSettings,
    wakeups: Arc<Wakeups>,
}

#[derive(Debug)]
pub(crate) struct EmbeddedSubscription {
    arrived: mpsc::UnboundedReceiver<HeldMessage>,
    /// How many deliveries may be unanswered now.
    allowed: Arc<watch::Sender<u32>>,
    /// One permit for each delivery that may be unanswered.
    slots: Arc<Semaphore>,
    max_in_flight: u32,
    intake: DropGuard,
}

#[derive(Debug, Clone)]
pub(crate) struct EmbeddedControl {
    allowed: Arc<watch::Sender<u32>>,
}

// === impl EmbeddedSettings ===

impl Default for EmbeddedSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(60),
            poll_interval: Duration::from_secs(1),
        }
    }
}

// === impl EmbeddedBackend ===

impl EmbeddedBackend {
    pub(crate) fn new(table: EmbeddedQueue, settings: EmbeddedSettings) -> Self {
        Self {
            table,
            settings,
            wakeups: Arc::default(),
        }
    }

    pub(crate) async fn publish(&self, topic: &Topic, bodies: &[Bytes]) -> Result<(), QueueError> {
        let bodies: Vec<Vec<u8>> = bodies.iter().map(|body| body.to_vec()).collect();
        let pushed = self.table.push(topic.as_str(), &bodies).await;
        // Even after an error: the transaction may have been committed all the same.
        self.wakeups.wake(topic.as_str());
        pushed.map_err(QueueError::of_database)
    }

    pub(crate) fn subscribe(
        &self,
        topic: Topic,
        channel: Channel,
        max_in_flight: u32,
    ) -> Result<Subscription, QueueError> {
        let (arrivals, arrived) = mpsc::unbounded_channel();
        let allowed = Arc::new(watch::Sender::new(max_in_flight));
        let slots = Arc::new(Semaphore::new(max_in_flight as usize));
        let end = CancellationToken::new();
        let wakeup = self.wakeups.of(topic.as_str());
        let name = topic.to_string();
        let intake = Intake {
            table: self.table.clone(),
            settings: self.settings,
            returns: Returns::start(self.table.clone(), wakeup.clone()),
            topic,
            channel,
            flow: Flow::new(slots.clone(), max_in_flight, allowed.subscribe()),
            wakeup,
            arrivals,
        };
        tokio::spawn(intake.run(end.clone()));
        let subscription = EmbeddedSubscription {
            arrived,
            allowed,
            slots,
            max_in_flight,
            intake: end.drop_guard(),
        };
        Ok(Subscription::embedded(subscription, name))
    }
}

// === impl EmbeddedSubscription ===

impl EmbeddedSubscription {
    /// Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<HeldMessage> {
        loop {
            let held = self.arrived.recv().await?;
            if !held.is_expired() {
                return Some(held);
            }
            // Taken again by now, or soon; nothing is to be given back.
            held.forget();
        }
    }

    pub(crate) fn max_in_flight(&self) -> u32 {
        self.max_in_flight
    }

    pub(crate) fn control(&self) -> EmbeddedControl {
        EmbeddedControl {
            allowed: self.allowed.clone(),
        }
    }

    /// Tells how many were given back, and how many were still held at the end.
    pub(crate) async fn close(self, limit: Duration) -> (usize, usize) {
        let Self {
            mut arrived,
            slots,
            max_in_flight,
            intake,
            ..
        } = self;
        drop(intake);
        let mut requeued = 0;
        let all_answered = async {
            // Ends with the intake, which may be in the middle of taking some more.
            while let Some(held) = arrived.recv().await {
                drop(held);
                requeued += 1;
            }
            // The semaphore is never closed, and all permits are back when everything is answered.
            let _ = slots.acquire_many(max_in_flight).await;
        };
        match timeout(limit, all_answered).await {
            Ok(()) => (requeued, 0),
            Err(_) => (
                requeued,
                (max_in_flight as usize).saturating_sub(slots.available_permits()),
            ),
        }
    }
}

// === impl EmbeddedControl ===

impl EmbeddedControl {
    /// At most what was subscribed with.
    pub(crate) fn set_max_in_flight(&self, max_in_flight: u32) {
        self.allowed
            .send_if_modified(|allowed| std::mem::replace(allowed, max_in_flight) != max_in_flight);
    }
}
