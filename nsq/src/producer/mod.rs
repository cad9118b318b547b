//! Publishing: a cheap handle on a task that owns the connection.

mod request;
mod task;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::command::{Command, batch_len};
use crate::error::{ConfigError, ConnectionError, InvalidMessage, NotSent, PublishError};
use crate::identify::ConnectionConfig;
use crate::name::Topic;
use request::{Bounds, Request};
use task::ProducerTask;

/// How a [`Producer`] works. All fields are public; start from [`ProducerConfig::new`].
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// `host:port` of nsqd's TCP side, resolved at each connect.
    pub address: String,
    /// How the connection is made and kept.
    pub connection: ConnectionConfig,
    /// How long [`Producer::publish`] may take, waiting for a connection included. Default 5 s.
    pub publish_timeout: Duration,
    /// The longest message in bytes; nsqd's `--max-msg-size`. Default 1 MiB, as there.
    pub max_message_size: usize,
    /// The longest batch in bytes, framing included; nsqd's `--max-body-size`. Default 5 MiB, as there.
    pub max_body_size: usize,
    /// The longest delay of a deferred message; nsqd's `--max-req-timeout`. Default 1 h, as there.
    pub max_delay: Duration,
    /// How many publishes may be unanswered at a time; more wait for their turn. Default 4096.
    pub max_pending: usize,
    /// How many bytes may be unanswered at a time; more wait for their turn. Default 64 MiB.
    pub max_pending_bytes: usize,
}

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

/// Publishes to one nsqd.
///
/// Cloning is cheap, and all clones share one connection, which is made and made again in the
/// background. Publishes of concurrent callers are pipelined. The connection is closed, after what is
/// under way has been answered, when the last clone is dropped or [`Producer::close`] is called.
#[derive(Debug, Clone)]
pub struct Producer {
    requests: mpsc::UnboundedSender<Request>,
    bounds: Bounds,
    state: watch::Receiver<ProducerState>,
    closing: CancellationToken,
    config: Arc<ProducerConfig>,
    publish_timeout: Duration,
}

// === impl ProducerConfig ===

impl ProducerConfig {
    /// The defaults, for the nsqd at `address` (`host:port` of its TCP side).
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            connection: ConnectionConfig::default(),
            publish_timeout: Duration::from_secs(5),
            max_message_size: 1024 * 1024,
            max_body_size: 5 * 1024 * 1024,
            max_delay: Duration::from_secs(60 * 60),
            max_pending: 4096,
            max_pending_bytes: 64 * 1024 * 1024,
        }
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let rule = |holds, field, expected| {
            if holds {
                Ok(())
            } else {
                Err(ConfigError { field, expected })
            }
        };
        let framable = i32::MAX as usize;
        rule(!self.address.is_empty(), "address", "host:port")?;
        rule(
            (1..=framable).contains(&self.max_message_size),
            "max_message_size",
            "from 1 byte to 2 GiB",
        )?;
        rule(
            (1..=framable).contains(&self.max_body_size),
            "max_body_size",
            "from 1 byte to 2 GiB",
        )?;
        rule(
            Bounds::fit(self.max_pending),
            "max_pending",
            "at least 1, and below 2^29",
        )?;
        let largest = self.max_message_size.max(self.max_body_size);
        rule(
            Bounds::fit(self.max_pending_bytes) && self.max_pending_bytes >= largest,
            "max_pending_bytes",
            "at least max_message_size and max_body_size, and below 512 MiB",
        )?;
        self.connection.validate()
    }
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
        let config = Arc::new(config);
        let (requests, queue) = mpsc::unbounded_channel();
        let (state_sender, state) = watch::channel(ProducerState::Disconnected(None));
        let closing = CancellationToken::new();
        let bounds = Bounds::new(config.max_pending, config.max_pending_bytes);
        tokio::spawn(
            ProducerTask::new(
                config.clone(),
                queue,
                bounds.clone(),
                state_sender,
                closing.clone(),
            )
            .run(),
        );
        let publish_timeout = config.publish_timeout;
        Ok(Self {
            requests,
            bounds,
            state,
            closing,
            config,
            publish_timeout,
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

    /// Publishes one message and waits for nsqd's acknowledgement of it.
    ///
    /// # Errors
    /// See [`PublishError`]: each variant says whether the message can have been stored.
    ///
    /// # Cancel safety
    /// Dropped before the message was written to the connection, it is not sent; dropped later, it is
    /// sent and the answer is lost.
    pub async fn publish(&self, topic: &Topic, body: impl Into<Bytes>) -> Result<(), PublishError> {
        let body = body.into();
        self.check_message(&body)?;
        let size = body.len();
        self.execute(
            Command::Publish {
                topic: topic.clone(),
                body,
            },
            size,
        )
        .await
    }

    /// Publishes many messages in one command; nsqd stores all of them or, its disk failing aside, none.
    ///
    /// # Errors
    /// See [`PublishError`]; it tells the fate of the whole batch.
    ///
    /// # Cancel safety
    /// As [`Producer::publish`].
    pub async fn publish_many(&self, topic: &Topic, bodies: Vec<Bytes>) -> Result<(), PublishError> {
        if bodies.is_empty() {
            return Err(InvalidMessage::EmptyBatch.into());
        }
        let mut bytes = 0;
        for body in &bodies {
            self.check_message(body)?;
            bytes += body.len();
        }
        let size = batch_len(bodies.len(), bytes);
        let limit = self.config.max_body_size;
        if size > limit {
            return Err(InvalidMessage::BatchTooLarge { size, limit }.into());
        }
        self.execute(
            Command::PublishMany {
                topic: topic.clone(),
                bodies,
            },
            size,
        )
        .await
    }

    /// Publishes one message that nsqd delivers after `delay` (of whole milliseconds) at the earliest.
    ///
    /// nsqd keeps the delay in memory only: a message that waits is lost when nsqd dies hard, and
    /// delivered at once after it was stopped in an orderly way.
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
        let body = body.into();
        self.check_message(&body)?;
        let limit = self.config.max_delay;
        if delay > limit {
            return Err(InvalidMessage::DelayTooLong { delay, limit }.into());
        }
        let size = body.len();
        self.execute(
            Command::PublishDeferred {
                topic: topic.clone(),
                body,
                delay,
            },
            size,
        )
        .await
    }

    /// The state of the connection now.
    pub fn state(&self) -> ProducerState {
        self.state.borrow().clone()
    }

    /// The state of the connection as it changes.
    pub fn watch_state(&self) -> watch::Receiver<ProducerState> {
        self.state.clone()
    }

    /// Takes no more publishes, from any clone, and waits until those under way are answered or past
    /// their deadlines and the connection is closed.
    ///
    /// # Cancel safety
    /// Closing goes on when the future is dropped.
    pub async fn close(&self) {
        self.closing.cancel();
        let mut state = self.state.clone();
        // An error means that the task has ended, which is what is waited for.
        let _ = state
            .wait_for(|state| matches!(state, ProducerState::Closed))
            .await;
    }

    fn check_message(&self, body: &Bytes) -> Result<(), InvalidMessage> {
        let limit = self.config.max_message_size;
        match body.len() {
            0 => Err(InvalidMessage::Empty),
            size if size > limit => Err(InvalidMessage::TooLarge { size, limit }),
            _ => Ok(()),
        }
    }

    async fn execute(&self, command: Command, size: usize) -> Result<(), PublishError> {
        if self.closing.is_cancelled() {
            return Err(NotSent::Closed.into());
        }
        let deadline = Instant::now() + self.publish_timeout;
        let place = tokio::select! {
            place = timeout_at(deadline, self.bounds.reserve(size)) => place,
            () = self.closing.cancelled() => return Err(NotSent::Closed.into()),
        };
        let Ok(place) = place else {
            return Err(self.why_not_sent().into());
        };
        let (request, mut answer) = Request::new(command, place?);
        if self.requests.send(request).is_err() {
            return Err(NotSent::Closed.into());
        }
        match timeout_at(deadline, answer.wait()).await {
            Ok(result) => result,
            Err(_) if answer.withdraw() => Err(self.why_not_sent().into()),
            Err(_) => Err(PublishError::Unanswered(self.publish_timeout)),
        }
    }

    fn why_not_sent(&self) -> NotSent {
        match &*self.state.borrow() {
            ProducerState::Connected => NotSent::Busy,
            ProducerState::Disconnected(Some(error)) => NotSent::Disconnected(error.clone()),
            ProducerState::Disconnected(None) => NotSent::Connecting,
            ProducerState::Closed => NotSent::Closed,
        }
    }
}
