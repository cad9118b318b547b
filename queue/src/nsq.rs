//! The back end on NSQ.

use std::sync::Arc;
use std::time::Duration;

use async_nsq::{
    BatchAck, Channel, Consumer, ConsumerConfig, HttpConfig, NsqdHttp, Producer, ProducerConfig,
    ProducerState, Topic,
};
use bytes::Bytes;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::QueueError;
use crate::gauges;
use crate::nsqd_side::{Groundwork, watch};
use crate::subscription::Subscription;

/// How long a publish waits for topic and channel to be made; it goes on without them.
const HTTP_LIMIT: Duration = Duration::from_secs(1);

/// Where the servers are. Addresses are `host:port`, resolved at each connect.
#[derive(Debug, Clone, Default)]
pub struct NsqConfig {
    /// The nsqd to publish to (TCP). `None` for a queue that is only subscribed to.
    pub producer: Option<String>,
    /// The same nsqd's HTTP side. Where it is given, the channel is made together with a topic before the
    /// first publish to it, nsqd's limits are learned, and what waits there is measured.
    pub producer_http: Option<String>,
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
    groundwork: Option<Groundwork>,
    /// Ends the measuring with the last clone.
    _watching: Option<Arc<DropGuard>>,
}

// === impl NsqBackend ===

impl NsqBackend {
    pub(crate) fn new(config: NsqConfig) -> Result<Self, QueueError> {
        let http = config.producer_http.as_deref().map(nsqd_http).transpose()?;
        let producer = config.producer.as_ref().map(|address| {
            let mut producer = ProducerConfig::new(address);
            producer.nsqd[0].http = http.clone();
            if let Some(timeout) = config.publish_timeout {
                producer.publish_timeout = timeout;
            }
            Producer::start(producer)
        });
        let producer = producer.transpose()?;
        if let Some(producer) = &producer {
            tokio::spawn(gauges::producer(producer.watch_state()));
        }
        let watching = http.clone().map(|http| {
            let end = CancellationToken::new();
            tokio::spawn(end.clone().run_until_cancelled_owned(watch(http)));
            Arc::new(end.drop_guard())
        });
        Ok(Self {
            config,
            producer,
            groundwork: http.map(Groundwork::new),
            _watching: watching,
        })
    }

    /// Queues messages for publishing, in the order of the calls.
    pub(crate) async fn enqueue(&self, topic: &Topic, bodies: &[Bytes]) -> Result<BatchAck, QueueError> {
        let Some(producer) = &self.producer else {
            return Err(QueueError::Invalid(
                "no nsqd to publish to is configured".to_owned(),
            ));
        };
        if let Some(groundwork) = &self.groundwork {
            groundwork.lay(topic).await;
        }
        producer
            .enqueue_many(topic, bodies.to_vec())
            .await
            .map_err(QueueError::of_publish)
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
        let consumer = Consumer::start(consumer)?;
        tokio::spawn(gauges::consumer(consumer.control(), topic.clone()));
        Ok(Subscription::nsq(consumer, topic, max_in_flight))
    }

    pub(crate) fn can_publish(&self) -> bool {
        self.producer.is_some()
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

fn nsqd_http(address: &str) -> Result<NsqdHttp, QueueError> {
    let mut config = HttpConfig::default();
    config.timeout = HTTP_LIMIT;
    Ok(NsqdHttp::new(address, config)?)
}
