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
    max_in_flight: u32,
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
    max_in_flight: u32,
}

#[derive(Debug, Clone)]
enum Control {
    Nsq(ConsumerControl),
    Embedded(EmbeddedControl),
}

// === impl Subscription ===

impl Subscription {
    pub(crate) fn nsq(consumer: Consumer, topic: String, max_in_flight: u32) -> Self {
        Self {
            source: Source::Nsq(Box::new(consumer)),
            topic,
            max_in_flight,
        }
    }

    pub(crate) fn embedded(subscription: EmbeddedSubscription, topic: String) -> Self {
        Self {
            max_in_flight: subscription.max_in_flight(),
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

    /// A handle for those who do not take the deliveries.
    pub fn control(&self) -> SubscriptionControl {
        let of = match &self.source {
            Source::Nsq(consumer) => Control::Nsq(consumer.control()),
            Source::Embedded(subscription) => Control::Embedded(subscription.control()),
        };
        SubscriptionControl {
            of,
            topic: self.topic.clone(),
            max_in_flight: self.max_in_flight,
        }
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
    /// Changes how many deliveries may be unanswered at a time, to no more than was subscribed with. Zero pauses: the
    /// back end is asked for no more deliveries, and what is under way is still handed out.
    pub fn set_max_in_flight(&self, max_in_flight: u32) {
        let at_most = max_in_flight.min(self.max_in_flight);
        match &self.of {
            Control::Nsq(control) => control.set_max_in_flight(at_most),
            Control::Embedded(control) => control.set_max_in_flight(at_most),
        }
        let paused = f64::from(u8::from(at_most == 0));
        gauge!(metric_names::PAUSED, "topic" => self.topic.clone()).set(paused);
    }

    /// Asks the back end for no more deliveries. Does nothing when paused already.
    pub fn pause(&self) {
        self.set_max_in_flight(0);
    }

    /// Allows as many deliveries as were subscribed with.
    pub fn resume(&self) {
        self.set_max_in_flight(self.max_in_flight);
    }
}
