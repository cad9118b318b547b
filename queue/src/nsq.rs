//! The back end on NSQ.

use std::time::Duration;

use async_nsq::{Channel, Consumer, ConsumerConfig, Producer, ProducerConfig, ProducerState, Topic};
use bytes::Bytes;

use crate::error::QueueError;
use crate::subscription::Subscription;

/// Where the servers are. Addresses are `host:port`, resolved at each connect.
#[derive(Debug, Clone, Default)]
pub struct NsqConfig {
    /// The nsqd to publish to (TCP). `None` for a queue that is only subscribed to.
    pub producer: Option<String>,
    /// nsqds to subscribe to directly (TCP).
    pub nsqd: Vec<String>,
    /// nsqlookupds to ask for nsqds to subscribe to (HTTP). With neither these nor `nsqd` given, the
    /// `producer` is subscribed to.
    pub lookupd: Vec<String>,
    /// How long nsqd waits for an answer or a touch before it delivers again; `None` for its own setting
    /// (60 s by default).
    pub msg_timeout: Option<Duration>,
    /// How long a publish may take, waiting for a connection included; `None` for 5 s.
    pub publish_timeout: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(crate) struct NsqBackend {
    config: NsqConfig,
    producer: Option<Producer>,
}

// === impl NsqBackend ===

impl NsqBackend {
    pub(crate) fn new(config: NsqConfig) -> Result<Self, QueueError> {
        let producer = config.producer.as_ref().map(|address| {
            let mut producer = ProducerConfig::new(address);
            if let Some(timeout) = config.publish_timeout {
                producer.publish_timeout = timeout;
            }
            Producer::start(producer)
        });
        let producer = producer.transpose()?;
        Ok(Self { config, producer })
    }

    pub(crate) async fn publish(&self, topic: &Topic, bodies: &[Bytes]) -> Result<(), QueueError> {
        let Some(producer) = &self.producer else {
            return Err(QueueError::Invalid(
                "no nsqd to publish to is configured".to_owned(),
            ));
        };
        match bodies {
            [body] => producer
                .publish(topic, body.clone())
                .await
                .map_err(QueueError::of_publish),
            bodies => producer
                .publish_many(topic, bodies.to_vec())
                .await
                .map_err(QueueError::of_publish_many),
        }
    }

    pub(crate) fn subscribe(
        &self,
        topic: Topic,
        channel: Channel,
        max_in_flight: u32,
    ) -> Result<Subscription, QueueError> {
        let mut consumer = ConsumerConfig::new(topic, channel);
        consumer.max_in_flight = max_in_flight;
        consumer.connection.msg_timeout = self.config.msg_timeout;
        consumer.lookupd = self.config.lookupd.clone();
        consumer.nsqd = self.config.nsqd.clone();
        if consumer.lookupd.is_empty() && consumer.nsqd.is_empty() {
            consumer.nsqd.extend(self.config.producer.clone());
        }
        let topic = consumer.topic.to_string();
        Ok(Subscription::nsq(Consumer::start(consumer)?, topic))
    }

    pub(crate) fn ready(&self) -> Result<(), String> {
        match self.producer.as_ref().map(Producer::state) {
            None | Some(ProducerState::Connected) => Ok(()),
            Some(ProducerState::Disconnected(Some(error))) => Err(error.to_string()),
            Some(ProducerState::Disconnected(None)) => Err("not connected yet".to_owned()),
            Some(_) => Err("closed".to_owned()),
        }
    }
}
