//! A message in the hands of its handler.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::link::LinkCommand;
use super::throttle::Verdict;
use crate::error::ServerError;
use crate::frame::RawMessage;

/// The name of a message on the nsqd that holds it: 16 bytes, hexadecimal digits with today's nsqd.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId([u8; MessageId::LEN]);

/// Why an answer to a message does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// The connection that brought the message is gone, and nsqd takes its answers from no other. The
    /// message comes again when its deadline has passed.
    #[error("the connection that brought the message is lost; it will be delivered again")]
    ConnectionLost,
    /// nsqd had given the message up, as its deadline had passed; it will be delivered again.
    #[error("nsqd refused the answer: {0}")]
    Refused(ServerError),
    /// The connection ended before nsqd's word on the answer came. The message may be done, or come again.
    #[error("the connection was lost before the answer was confirmed; the message may come again")]
    Unconfirmed,
}

/// A message that waits for its answer.
///
/// It belongs to whoever holds it, and is answered once: by [`finish`](Message::finish) or
/// [`requeue`](Message::requeue). Dropped unanswered, it is requeued at once.
///
/// ```
/// # use async_nsq::testing::MockNetwork;
/// use async_nsq::{Channel, Consumer, ConsumerConfig, Topic};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
/// # runtime.block_on(async {
/// # let network = MockNetwork::new();
/// # network.nsqd("127.0.0.1:4150").publish("order 1");
/// let mut config = ConsumerConfig::new(Topic::new("orders")?, Channel::new("billing")?);
/// config.nsqd = vec!["127.0.0.1:4150".into()];
/// # config.connection.dialer = Some(network.dialer());
/// let mut consumer = Consumer::start(config)?;
///
/// let message = consumer.next().await.ok_or("closed")?;
/// assert_eq!(message.body(), "order 1");
/// message.touch()?; // it takes longer than thought
/// message.requeue(Duration::from_secs(60))?; // not now
///
/// let again = consumer.next().await.ok_or("closed")?; // a minute later
/// assert_eq!(again.attempts(), 2);
/// again.finish()?; // done
/// # Ok(())
/// # })
/// # }
/// ```
#[must_use = "a message dropped unanswered is delivered again"]
pub struct Message {
    raw: RawMessage,
    received: Instant,
    /// The deadline, in milliseconds after `received`. Shared knowledge of ours; nsqd has its own.
    deadline_ms: AtomicU64,
    origin: Arc<Origin>,
    answered: AtomicBool,
}

/// The connection that brought a message.
pub(super) struct Origin {
    pub(super) address: String,
    /// Tells this connection from all others of the consumer, earlier ones to the same nsqd included.
    pub(super) generation: u64,
    pub(super) commands: mpsc::UnboundedSender<LinkCommand>,
    pub(super) msg_timeout: Duration,
    pub(super) max_msg_timeout: Duration,
}

// === impl MessageId ===

impl MessageId {
    /// The length of every id, in bytes.
    pub const LEN: usize = 16;

    /// The id that these bytes are.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The id as it stands on the wire.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Message ===

impl Message {
    pub(super) fn new(raw: RawMessage, origin: Arc<Origin>) -> Self {
        let deadline_ms = AtomicU64::new(millis(origin.msg_timeout));
        Self {
            raw,
            received: Instant::now(),
            deadline_ms,
            origin,
            answered: AtomicBool::new(false),
        }
    }

    /// What was published.
    pub fn body(&self) -> &Bytes {
        &self.raw.body
    }

    /// How often it was delivered to anyone, this time included; nsqd counts to 65535.
    pub fn attempts(&self) -> u16 {
        self.raw.attempts
    }

    /// Its name on the nsqd that holds it. Another nsqd may use the same for another message.
    pub fn id(&self) -> MessageId {
        self.raw.id
    }

    /// When nsqd stored it, by nsqd's clock.
    pub fn timestamp(&self) -> SystemTime {
        let nanos = u64::try_from(self.raw.timestamp).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos)
    }

    /// `host:port` or `unix:/path` of the nsqd that holds it, as configured or discovered.
    pub fn nsqd(&self) -> &str {
        &self.origin.address
    }

    /// When nsqd gives it to somebody else unless it is answered or touched before: as far as can be
    /// known here, as the time on the way is not.
    pub fn deadline(&self) -> Instant {
        self.received + Duration::from_millis(self.deadline_ms.load(Ordering::Relaxed))
    }

    /// Whether the deadline has passed, so that an answer will most likely be refused.
    pub fn is_expired(&self) -> bool {
        Instant::now() >= self.deadline()
    }

    /// Done: nsqd forgets the message.
    ///
    /// `Ok` says that the answer is on its way. nsqd confirms none; it refuses an answer after the
    /// deadline, which is logged, counted in
    /// [`ConsumerStats::refused_answers`](crate::ConsumerStats::refused_answers), and told by
    /// [`ConsumerControl::refused_answers`](crate::ConsumerControl::refused_answers). To know, at a price,
    /// there is [`finish_confirmed`](Message::finish_confirmed).
    ///
    /// # Errors
    /// [`AnswerError::ConnectionLost`]: the message comes again.
    pub fn finish(self) -> Result<(), AnswerError> {
        self.finish_shared()
    }

    /// Done, and nsqd's word on it: `Ok` only once it is certain that nsqd forgot the message.
    ///
    /// nsqd acknowledges no FIN, but runs the commands of a connection in order, and refuses a TOUCH of a
    /// message that is not in flight (`nsqd/protocol_v2.go`, `IOLoop`, `FIN` and `TOUCH`). So a TOUCH of an id
    /// that no message has is sent behind the FIN: when it is refused, the FIN was not, or its refusal has come
    /// before. The price is a round trip, and a line in nsqd's log for each message, two if it was delivered
    /// before; it is meant for the few messages whose work has to be taken back when it turns out to be somebody
    /// else's.
    ///
    /// Even a confirmed message may have been delivered twice: somebody else may have had it, and failed or
    /// lost it, before. What no client can learn is whether a FIN whose connection ended was read.
    ///
    /// # Errors
    /// [`AnswerError::Refused`]: the message comes again, or has come to somebody else.
    /// [`AnswerError::ConnectionLost`]: nothing was sent, the message comes again.
    /// [`AnswerError::Unconfirmed`]: the connection ended in between.
    ///
    /// # Cancel safety
    /// The message is finished even if the future is dropped after its first poll; only the word is lost.
    pub async fn finish_confirmed(self) -> Result<(), AnswerError> {
        let (confirm, word) = oneshot::channel();
        self.answer(LinkCommand::Finish {
            id: self.raw.id,
            attempts: self.raw.attempts,
            confirm: Some(confirm),
        })?;
        word.await.unwrap_or(Err(AnswerError::Unconfirmed))
    }

    /// Not done: nsqd delivers it again after `delay` (of whole milliseconds), to anyone. It shortens
    /// what is over its `--max-req-timeout` (1 h) to that. With a
    /// [`BackoffPolicy`](crate::BackoffPolicy), this is a failure.
    ///
    /// # Errors
    /// [`AnswerError::ConnectionLost`]: the message comes again, when its deadline has passed.
    pub fn requeue(self, delay: Duration) -> Result<(), AnswerError> {
        self.requeue_shared(delay, Verdict::Failure)
    }

    /// As [`requeue`](Message::requeue), but says nothing about how things go: the consumer does not back
    /// off for it.
    ///
    /// # Errors
    /// As [`requeue`](Message::requeue).
    pub fn requeue_without_backoff(self, delay: Duration) -> Result<(), AnswerError> {
        self.requeue_shared(delay, Verdict::Neither)
    }

    /// Not done yet: moves the deadline to `msg_timeout` from now, but not past nsqd's
    /// `--max-msg-timeout` (15 min) after the delivery.
    ///
    /// # Errors
    /// [`AnswerError::ConnectionLost`]: the message comes again, and answering this one is in vain.
    pub fn touch(&self) -> Result<(), AnswerError> {
        let stretched = self.received.elapsed() + self.origin.msg_timeout;
        let deadline = stretched.min(self.origin.max_msg_timeout);
        // A touch that does not reach nsqd must not look as if it had.
        self.send(LinkCommand::Touch {
            id: self.raw.id,
            attempts: self.raw.attempts,
            deadline: self.received + deadline,
        })?;
        self.deadline_ms.fetch_max(millis(deadline), Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn generation(&self) -> u64 {
        self.origin.generation
    }

    /// The last moment to which touching can move the deadline.
    pub(super) fn latest_deadline(&self) -> Instant {
        self.received + self.origin.max_msg_timeout
    }

    pub(super) fn msg_timeout(&self) -> Duration {
        self.origin.msg_timeout
    }

    /// [`finish`](Message::finish) for one that shares the message with a handler.
    pub(super) fn finish_shared(&self) -> Result<(), AnswerError> {
        self.answer(LinkCommand::Finish {
            id: self.raw.id,
            attempts: self.raw.attempts,
            confirm: None,
        })
    }

    /// [`requeue`](Message::requeue) for one that shares the message with a handler.
    pub(super) fn requeue_shared(&self, delay: Duration, verdict: Verdict) -> Result<(), AnswerError> {
        self.answer(LinkCommand::Requeue {
            id: self.raw.id,
            attempts: self.raw.attempts,
            delay,
            verdict,
        })
    }

    /// Drops the message without a word to nsqd, which has given it up already or is told otherwise.
    pub(super) fn forget(self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    fn answer(&self, command: LinkCommand) -> Result<(), AnswerError> {
        if self.answered.swap(true, Ordering::Relaxed) {
            // Only one that shares the message can come here, and one answer is enough.
            return Ok(());
        }
        self.send(command)
    }

    fn send(&self, command: LinkCommand) -> Result<(), AnswerError> {
        self.origin
            .commands
            .send(command)
            .map_err(|_| AnswerError::ConnectionLost)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // With the connection gone, nsqd requeues it by itself. Nobody said that it failed.
        let _ = self.requeue_shared(Duration::ZERO, Verdict::Neither);
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.raw.id)
            .field("attempts", &self.raw.attempts)
            .field("nsqd", &self.origin.address)
            .field("body_len", &self.raw.body.len())
            .finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
