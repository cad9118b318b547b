//! The queue, whichever back end it has.

use async_nsq::{Channel, Topic};
use bytes::Bytes;
use safelight_database::EmbeddedQueue;

use crate::embedded::{EmbeddedBackend, EmbeddedSettings};
use crate::error::QueueError;
use crate::nsq::{NsqBackend, NsqConfig};
use crate::publishing::{Pending, Publishing};
use crate::subscription::Subscription;

/// A queue. Cheap to clone; clones share one connection, or one table and its wake-ups.
#[derive(Debug, Clone)]
pub struct Queue {
    backend: Backend,
}

#[derive(Debug, Clone)]
enum Backend {
    Nsq(Box<NsqBackend>),
    Embedded(EmbeddedBackend),
}

// === impl Queue ===

impl Queue {
    /// A queue on NSQ. Connects in the background and returns at once, whether or not any server is there.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`QueueError::Invalid`] where the configuration cannot work.
    pub fn nsq(config: NsqConfig) -> Result<Self, QueueError> {
        Ok(Self {
            backend: Backend::Nsq(Box::new(NsqBackend::new(config)?)),
        })
    }

    /// A queue in a table, with the default [`EmbeddedSettings`].
    ///
    /// A publish wakes the subscriptions of this value and its clones at once; those of another value, or
    /// of another process, within [`EmbeddedSettings::poll_interval`].
    pub fn embedded(table: EmbeddedQueue) -> Self {
        Self::embedded_with(table, EmbeddedSettings::default())
    }

    /// As [`Queue::embedded`], with other settings.
    pub fn embedded_with(table: EmbeddedQueue, settings: EmbeddedSettings) -> Self {
        Self {
            backend: Backend::Embedded(EmbeddedBackend::new(table, settings)),
        }
    }

    /// Publishes messages: with NSQ in as few commands as nsqd takes, else in one transaction. `Ok` means
    /// that the back end has all of them; an error, that it does not, or is not known to. Bounded in time:
    /// [`NsqConfig::publish_timeout`] with NSQ, the database's operation timeout with the embedded one.
    /// Nothing is done for an empty list.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`] where trying again can help; [`QueueError::Invalid`] for an empty
    /// message, a bad topic name, a message over 1 MiB, or a queue without a `producer`.
    ///
    /// # Cancel safety
    /// The messages may be published or not when the future is dropped.
    pub async fn publish(&self, topic: &str, bodies: &[Bytes]) -> Result<(), QueueError> {
        self.enqueue(topic, bodies).await.wait().await
    }

    /// The first stage of [`Queue::publish`]: returns when the messages are queued, with what waits for their
    /// acknowledgement and tells of every failure, so that more can be published meanwhile. Messages are stored in
    /// the order in which they were queued. The embedded back end knows the outcome at once.
    ///
    /// # Cancel safety
    /// The messages may be published or not when the future is dropped.
    pub async fn enqueue(&self, topic: &str, bodies: &[Bytes]) -> Publishing {
        let pending = match self.pending(topic, bodies).await {
            Ok(pending) => pending,
            Err(error) => Pending::Over(Err(error)),
        };
        Publishing::new(pending, topic, bodies.len())
    }

    async fn pending(&self, topic: &str, bodies: &[Bytes]) -> Result<Pending, QueueError> {
        let topic = Topic::new(topic)?;
        if bodies.iter().any(Bytes::is_empty) {
            return Err(QueueError::Invalid(
                "an empty message cannot be published".to_owned(),
            ));
        }
        if bodies.is_empty() {
            return Ok(Pending::Over(Ok(())));
        }
        match &self.backend {
            Backend::Nsq(nsq) => Ok(Pending::Nsq(nsq.enqueue(&topic, bodies).await?)),
            Backend::Embedded(embedded) => Ok(Pending::Over(embedded.publish(&topic, bodies).await)),
        }
    }

    /// Subscribes to a topic; at most `max_in_flight` deliveries (at least 1) are unanswered at a time.
    ///
    /// Returns at once, whether or not any server is there. With NSQ, topic and channel come into being
    /// on each nsqd when it is first connected to; what was published before the topic's first channel
    /// waits there for it. The embedded back end has one channel a topic, and ignores its name.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`QueueError::Invalid`] for a bad name or limit, or where no server is configured.
    pub fn subscribe(
        &self,
        topic: &str,
        channel: &str,
        max_in_flight: u32,
    ) -> Result<Subscription, QueueError> {
        let (topic, channel) = (Topic::new(topic)?, Channel::new(channel)?);
        if max_in_flight == 0 {
            return Err(QueueError::Invalid("max_in_flight must be at least 1".to_owned()));
        }
        match &self.backend {
            Backend::Nsq(nsq) => nsq.subscribe(topic, channel, max_in_flight),
            Backend::Embedded(embedded) => embedded.subscribe(topic, channel, max_in_flight),
        }
    }

    /// Whether there is somewhere to publish to at all: with NSQ, whether a `producer` is configured.
    pub fn can_publish(&self) -> bool {
        match &self.backend {
            Backend::Nsq(nsq) => nsq.can_publish(),
            Backend::Embedded(_) => true,
        }
    }

    /// Whether publishing can work now: with NSQ, whether the producer (where there is one) is connected;
    /// the embedded back end is there as long as its database is, which answers for itself.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn ready(&self) -> Result<(), String> {
        match &self.backend {
            Backend::Nsq(nsq) => nsq.ready(),
            Backend::Embedded(_) => Ok(()),
        }
    }
}
