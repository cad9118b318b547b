//! Receiving.

use std::time::Duration;

use async_nsq::{Consumer, ConsumerControl};
use metrics::{counter, gauge};

use crate::delivery::Delivery;
use crate::embedded::{EmbeddedControl, EmbeddedSubscription};
use crate::metric_names;

/// The deliveries of one topic and channel.
///
/// Dropped, it gives back what was not handed out; deliveries still held can be answered.
#[derive(Debug)]
pub struct Subscription {
    source: Source,
    topic: String,
}

#[derive(Debug)]
enum Source {
    Nsq(Box<Consumer>),
    Embedded(EmbeddedSubscription),
}

/// A handle to hold a [`Subscription`] back from elsewhere. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SubscriptionControl {
    of: Control,
    topic: String,
}

#[derive(Debug, Clone)]
enum Control {
    Nsq(ConsumerControl),
    Embedded(EmbeddedControl),
}

// === impl Subscription ===

impl Subscription {
    pub(crate) fn nsq(consumer: Consumer, topic: String) -> Self {
        Self {
            source: Source::Nsq(Box::new(consumer)),
            topic,
        }
    }

    pub(crate) fn embedded(subscription: EmbeddedSubscription, topic: String) -> Self {
        Self {
            source: Source::Embedded(subscription),
            topic,
        }
    }

    /// The next delivery; waits while there is none, also while the back end is away. `None` only when
    /// the runtime is shutting down.
    ///
    /// # Cancel safety
    /// No delivery is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Delivery> {
        let delivery = match &mut self.source {
            Source::Nsq(consumer) => consumer
                .next()
                .await
                .map(|message| Delivery::nsq(message, &self.topic)),
            Source::Embedded(subscription) => subscription
                .next()
                .await
                .map(|held| Delivery::embedded(held, &self.topic)),
        }?;
        counter!(metric_names::DELIVERED, "topic" => self.topic.clone()).increment(1);
        Some(delivery)
    }

    /// Asks the back end for no more deliveries. What is under way is still handed out. Does nothing when
    /// paused already.
    pub fn pause(&self) {
        self.control().pause();
    }

    /// Ends a pause. Does nothing when not paused.
    pub fn resume(&self) {
        self.control().resume();
    }

    /// A handle for those who do not take the deliveries.
    pub fn control(&self) -> SubscriptionControl {
        let of = match &self.source {
            Source::Nsq(consumer) => Control::Nsq(consumer.control()),
            Source::Embedded(subscription) => Control::Embedded(subscription.control()),
        };
        let topic = self.topic.clone();
        SubscriptionControl { of, topic }
    }

    /// Ends the subscription in an orderly way: what was not handed out goes back at once, and deliveries
    /// that are held are waited for, at most until `limit` has passed.
    ///
    /// # Cancel safety
    /// What was not handed out goes back even if the future is dropped.
    pub async fn close(self, limit: Duration) {
        let (requeued, abandoned) = match self.source {
            Source::Nsq(consumer) => {
                let drained = consumer.close(limit).await;
                (drained.requeued, drained.abandoned)
            }
            Source::Embedded(subscription) => subscription.close(limit).await,
        };
        tracing::info!(topic = self.topic, requeued, abandoned, "subscription closed");
    }
}

// === impl SubscriptionControl ===

impl SubscriptionControl {
    /// As [`Subscription::pause`].
    pub fn pause(&self) {
        self.set_paused(true);
    }

    /// As [`Subscription::resume`].
    pub fn resume(&self) {
        self.set_paused(false);
    }

    fn set_paused(&self, paused: bool) {
        match &self.of {
            Control::Nsq(control) if paused => control.pause(),
            Control::Nsq(control) => control.resume(),
            Control::Embedded(control) => control.set_paused(paused),
        }
        gauge!(metric_names::PAUSED, "topic" => self.topic.clone()).set(f64::from(u8::from(paused)));
    }
}
