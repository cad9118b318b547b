//! The handle that publishers hold.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::batch::{BatchAck, Part, PublishManyError, around_invalid, payload, split};
use super::limits::Limits;
use super::request::{Bounds, Payload, Place, Request};
use super::stats::{Counters, ProducerStats};
use super::task::ProducerTask;
use super::{ProducerConfig, PublishAck};
use crate::clock::from_now;
use crate::error::{ConfigError, ConnectionError, ErrorCode, InvalidMessage, NotSent, PublishError};
use crate::http::NsqdLimits;
use crate::name::Topic;

/// How often a batch is cut anew because nsqd's limits turned out lower than thought: once for the length
/// of a message, once for that of a batch, and once more as another nsqd may have taken over.
const CUTS: usize = 3;

/// The state of a producer's connection, to be watched.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ProducerState {
    /// Not connected, and trying; the reason is missing before the first try has failed.
    Disconnected(Option<ConnectionError>),
    /// Connected.
    Connected,
    /// Closed for good.
    Closed,
}

/// Publishes to one nsqd at a time, of one or several.
///
/// Cloning is cheap, and all clones share one connection, which is made and made again in the
/// background. Publishes of concurrent callers are pipelined. The connection is closed, after what is
/// under way has been answered, when the last clone is dropped or [`Producer::close`] is called.
///
/// A message that certainly did not reach nsqd when a connection was lost is sent again over the next,
/// within its deadline. One that may have been stored is not: its publish fails as
/// [`PublishError::Unknown`], unless [`Producer::repeating_unknown`] asked for the contrary.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use async_nsq::{Producer, ProducerConfig, PublishError, Topic};
///
/// let producer = Producer::start(ProducerConfig::new("127.0.0.1:4150"))?;
/// let topic = Topic::new("orders")?;
/// match producer.publish(&topic, "order 1").await {
///     Ok(()) => println!("nsqd has it"),
///     Err(PublishError::Rejected(refusal)) => println!("nsqd will not have it: {refusal}"),
///     Err(error) if error.may_be_stored() => println!("nsqd may have it: {error}"),
///     Err(error) => println!("nsqd does not have it, try again: {error}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    publish_timeout: Duration,
    repeat_unknown: bool,
}

/// What all clones share.
#[derive(Debug)]
pub(super) struct Shared {
    requests: mpsc::UnboundedSender<Request>,
    state: watch::Receiver<ProducerState>,
    closing: CancellationToken,
    core: Arc<Core>,
}

/// What the clones share with the task.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: ProducerConfig,
    pub(super) bounds: Bounds,
    pub(super) limits: Limits,
    pub(super) counters: Counters,
    /// The nsqd that is connected, or tried next.
    pub(super) current: AtomicUsize,
}

// === impl Producer ===

impl Producer {
    /// Starts connecting in the background and returns at once, whether or not nsqd is there.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ConfigError`] where the configuration cannot work.
    pub fn start(config: ProducerConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let publish_timeout = config.publish_timeout;
        let core = Arc::new(Core::new(config));
        let (requests, queue) = mpsc::unbounded_channel();
        let (state_sender, state) = watch::channel(ProducerState::Disconnected(None));
        let closing = CancellationToken::new();
        let task = ProducerTask::new(core.clone(), queue, state_sender, closing.clone());
        tokio::spawn(task.run());
        let shared = Arc::new(Shared {
            requests,
            state,
            closing,
            core,
        });
        Ok(Self {
            shared,
            publish_timeout,
            repeat_unknown: false,
        })
    }

    /// A clone whose publishes have another deadline than [`ProducerConfig::publish_timeout`].
    #[must_use]
    pub fn with_timeout(&self, publish_timeout: Duration) -> Self {
        Self {
            publish_timeout,
            ..self.clone()
        }
    }

    /// A clone whose publishes are sent again when the connection is lost before nsqd has answered, until
    /// nsqd has answered or their deadlines pass. The message may be stored more than once by that, and
    /// consumers have to be written for it, as they have to be anyway.
    #[must_use]
    pub fn repeating_unknown(&self) -> Self {
        Self {
            repeat_unknown: true,
            ..self.clone()
        }
    }

    /// Publishes one message and waits for nsqd's acknowledgement of it.
    ///
    /// # Errors
    /// See [`PublishError`]: each variant says whether the message can have been stored.
    ///
    /// # Cancel safety
    /// Dropped before the message was written to the connection, it is not sent; dropped later, it is
    /// sent and the answer is lost.
    pub async fn publish(&self, topic: &Topic, body: impl Into<Bytes>) -> Result<(), PublishError> {
        self.enqueue(topic, body).await?.await
    }

    /// The first stage of [`Producer::publish`]: waits until the message is queued, within the bounds of
    /// what may be pending. Messages of one caller are sent in the order in which they were queued.
    ///
    /// ```
    /// # use async_nsq::testing::MockNetwork;
    /// use async_nsq::{Producer, ProducerConfig, Topic};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    /// # runtime.block_on(async {
    /// # let network = MockNetwork::new();
    /// # let nsqd = network.nsqd("127.0.0.1:4150");
    /// # let mut config = ProducerConfig::new("127.0.0.1:4150");
    /// # config.connection.dialer = Some(network.dialer());
    /// # let producer = Producer::start(config)?;
    /// let topic = Topic::new("orders")?;
    /// let mut acks = Vec::new();
    /// for order in ["order 1", "order 2", "order 3"] {
    ///     acks.push(producer.enqueue(&topic, order).await?);
    /// }
    /// for ack in acks {
    ///     ack.await?; // nsqd has it
    /// }
    /// # assert_eq!(nsqd.depth(), 3);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PublishError::Invalid`], or [`PublishError::NotSent`] where the producer is closed or there was no
    /// room before the deadline.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, nothing is sent.
    pub async fn enqueue(&self, topic: &Topic, body: impl Into<Bytes>) -> Result<PublishAck, PublishError> {
        let body = body.into();
        self.shared.core.limits.check_message(body.len())?;
        let topic = topic.clone();
        self.put(Payload::Publish { topic, body }, self.deadline()).await
    }

    /// Publishes many messages, in as few batches (MPUB) as nsqd's limits allow, and waits for nsqd's
    /// acknowledgements. nsqd stores each batch whole or, its disk failing aside, not at all.
    ///
    /// ```
    /// # use async_nsq::testing::MockNetwork;
    /// use async_nsq::{Producer, ProducerConfig, Topic};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    /// # runtime.block_on(async {
    /// # let network = MockNetwork::new();
    /// # let nsqd = network.nsqd("127.0.0.1:4150");
    /// # let mut config = ProducerConfig::new("127.0.0.1:4150");
    /// # config.connection.dialer = Some(network.dialer());
    /// # let producer = Producer::start(config)?;
    /// let topic = Topic::new("orders")?;
    /// let orders = vec!["order 1".into(), "order 2".into()];
    /// if let Err(error) = producer.publish_many(&topic, orders).await {
    ///     for (messages, reason) in &error.failed {
    ///         println!("messages {messages:?}: {reason}");
    ///     }
    /// }
    /// # assert_eq!(nsqd.depth(), 2);
    /// # Ok(())
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PublishManyError`] says which messages were not acknowledged, and why. A message that is invalid
    /// keeps all of them from being sent; one that turns out to be so only by nsqd's refusal fails alone.
    ///
    /// # Cancel safety
    /// As [`Producer::publish`], for each batch.
    pub async fn publish_many(&self, topic: &Topic, bodies: Vec<Bytes>) -> Result<(), PublishManyError> {
        let total = bodies.len();
        self.check_many(&bodies)?;
        let deadline = self.deadline();
        let mut missing = Vec::from([(0..total, None)]);
        for _ in 0..CUTS {
            let limits = self.limits();
            let (retried, kept): (Vec<_>, Vec<_>) = missing.into_iter().partition(|(messages, reason)| {
                let reason = reason.as_ref();
                reason.is_none_or(|reason| can_be_cut(messages.len(), reason))
            });
            let mut parts = Vec::new();
            for (messages, _) in retried {
                for run in around_invalid(&bodies, messages, &self.shared.core.limits) {
                    match run {
                        Ok(run) => parts.extend(self.put_many(topic, &bodies, run, deadline).await),
                        Err(part) => parts.push(part),
                    }
                }
            }
            let failed = BatchAck { parts, total }.wait().await.err();
            let failed = failed.map(|error| error.failed).unwrap_or_default();
            missing = kept;
            missing.extend(failed.into_iter().map(|(range, reason)| (range, Some(reason))));
            // Nothing was learned by which it could be done better.
            if limits == self.limits() {
                break;
            }
        }
        let mut failed: Vec<_> = missing
            .into_iter()
            .filter_map(|(range, reason)| Some((range, reason?)))
            .collect();
        if failed.is_empty() {
            return Ok(());
        }
        failed.sort_by_key(|(range, _)| range.start);
        Err(PublishManyError { failed, total })
    }

    /// The first stage of [`Producer::publish_many`]: waits until all batches are queued, within the bounds
    /// of what may be pending, so that a caller can have several under way.
    ///
    /// Unlike there, batches that nsqd refuses because its limits are lower than thought are not cut anew;
    /// they fail as [`PublishError::Rejected`], were not stored, and can be published again.
    ///
    /// # Errors
    /// [`PublishManyError`] where messages are invalid. What could not be queued before the deadline is told
    /// by the [`BatchAck`].
    ///
    /// # Cancel safety
    /// Dropped before it is ready, batches that were not written to the connection yet are not sent.
    pub async fn enqueue_many(
        &self,
        topic: &Topic,
        bodies: Vec<Bytes>,
    ) -> Result<BatchAck, PublishManyError> {
        let total = bodies.len();
        self.check_many(&bodies)?;
        let parts = self.put_many(topic, &bodies, 0..total, self.deadline()).await;
        Ok(BatchAck { parts, total })
    }

    /// Publishes one message that nsqd delivers after `delay` (of whole milliseconds) at the earliest.
    ///
    /// nsqd keeps the delay in memory only: a message that waits is lost when nsqd dies hard, and
    /// delivered at once after it was stopped in an orderly way, or where nsqd has no room for it in its
    /// memory queue (`--mem-queue-size`).
    ///
    /// # Errors
    /// See [`PublishError`].
    ///
    /// # Cancel safety
    /// As [`Producer::publish`].
    pub async fn publish_deferred(
        &self,
        topic: &Topic,
        body: impl Into<Bytes>,
        delay: Duration,
    ) -> Result<(), PublishError> {
        self.enqueue_deferred(topic, body, delay).await?.await
    }

    /// The first stage of [`Producer::publish_deferred`], as [`Producer::enqueue`] is of
    /// [`Producer::publish`].
    ///
    /// # Errors
    /// As [`Producer::enqueue`].
    ///
    /// # Cancel safety
    /// As [`Producer::enqueue`].
    pub async fn enqueue_deferred(
        &self,
        topic: &Topic,
        body: impl Into<Bytes>,
        delay: Duration,
    ) -> Result<PublishAck, PublishError> {
        let body = body.into();
        self.shared.core.limits.check_message(body.len())?;
        self.shared.core.limits.check_delay(delay)?;
        let topic = topic.clone();
        self.put(Payload::Deferred { topic, body, delay }, self.deadline())
            .await
    }

    /// The state of the connection now.
    pub fn state(&self) -> ProducerState {
        self.shared.state.borrow().clone()
    }

    /// The state of the connection as it changes.
    pub fn watch_state(&self) -> watch::Receiver<ProducerState> {
        self.shared.state.clone()
    }

    /// The nsqd that is connected, or that is tried next: its [`NsqdAddress::tcp`](super::NsqdAddress::tcp).
    pub fn nsqd(&self) -> &str {
        let core = &self.shared.core;
        &core.config.nsqd[core.current.load(Ordering::Relaxed)].tcp
    }

    /// The limits as they are known now: configured, or learned.
    pub fn limits(&self) -> NsqdLimits {
        self.shared.core.limits.snapshot()
    }

    /// What was done so far, all clones together.
    pub fn stats(&self) -> ProducerStats {
        self.shared.core.counters.snapshot()
    }

    /// Takes no more publishes, from any clone, and waits until those under way are answered or past
    /// their deadlines and the connection is closed.
    ///
    /// # Cancel safety
    /// Closing goes on when the future is dropped.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        let mut state = self.watch_state();
        // An error means that the task has ended, which is what is waited for.
        let _ = state
            .wait_for(|state| matches!(state, ProducerState::Closed))
            .await;
    }

    fn deadline(&self) -> Instant {
        from_now(self.publish_timeout)
    }

    fn check_many(&self, bodies: &[Bytes]) -> Result<(), PublishManyError> {
        let refused = |reason: InvalidMessage| PublishManyError::whole(bodies.len(), reason);
        if bodies.is_empty() {
            return Err(refused(InvalidMessage::EmptyBatch));
        }
        let limits = &self.shared.core.limits;
        bodies
            .iter()
            .try_for_each(|body| limits.check_message(body.len()))
            .map_err(refused)
    }

    /// Queues a run of messages in batches as the limits are now.
    async fn put_many(
        &self,
        topic: &Topic,
        bodies: &[Bytes],
        within: Range<usize>,
        deadline: Instant,
    ) -> Vec<Part> {
        let runs = split(bodies, within, self.shared.core.limits.body());
        let mut parts = Vec::with_capacity(runs.len());
        for messages in runs {
            let ack = self
                .put(payload(topic, &bodies[messages.clone()]), deadline)
                .await;
            parts.push(Part { messages, ack });
        }
        parts
    }

    async fn put(&self, payload: Payload, deadline: Instant) -> Result<PublishAck, PublishError> {
        if self.shared.closing.is_cancelled() {
            return Err(NotSent::Closed.into());
        }
        let size = payload.size();
        let place = match self.shared.core.bounds.try_reserve(size) {
            Some(place) => place,
            None => self.wait_for_place(size, deadline).await?,
        };
        let (request, answer) = Request::new(payload, self.repeat_unknown, place);
        if self.shared.requests.send(request).is_err() {
            return Err(NotSent::Closed.into());
        }
        let shared = self.shared.clone();
        Ok(PublishAck::new(answer, deadline, self.publish_timeout, shared))
    }

    async fn wait_for_place(&self, size: usize, deadline: Instant) -> Result<Place, NotSent> {
        tokio::select! {
            place = timeout_at(deadline, self.shared.core.bounds.reserve(size)) => {
                place.unwrap_or_else(|_| Err(self.shared.why_not_sent()))
            }
            () = self.shared.closing.cancelled() => Err(NotSent::Closed),
        }
    }
}

/// Whether nsqd refused so many messages for a length, or we did, so that they can be cut anew.
fn can_be_cut(messages: usize, reason: &PublishError) -> bool {
    match reason {
        PublishError::Rejected(refusal) => match refusal.code {
            ErrorCode::BadBody => true,
            // One of them is too long, and is told from the others by the limit.
            ErrorCode::BadMessage => messages > 1,
            _ => false,
        },
        PublishError::Invalid(InvalidMessage::BatchTooLarge { .. }) => true,
        PublishError::Invalid(InvalidMessage::TooLarge { .. }) => messages > 1,
        _ => false,
    }
}

// === impl Shared ===

impl Shared {
    /// Why something has not been sent until its deadline.
    pub(super) fn why_not_sent(&self) -> NotSent {
        match &*self.state.borrow() {
            ProducerState::Connected => NotSent::Busy,
            ProducerState::Disconnected(Some(error)) => NotSent::Disconnected(error.clone()),
            ProducerState::Disconnected(None) => NotSent::Connecting,
            ProducerState::Closed => NotSent::Closed,
        }
    }
}

// === impl Core ===

impl Core {
    pub(super) fn new(config: ProducerConfig) -> Self {
        Self {
            bounds: Bounds::new(config.max_pending, config.max_pending_bytes),
            limits: Limits::new(&config),
            counters: Counters::default(),
            current: AtomicUsize::new(0),
            config,
        }
    }
}
