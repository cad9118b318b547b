//! A message in the hands of its handler.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::link::LinkCommand;
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
}

/// A message that waits for its answer.
///
/// It belongs to whoever holds it, and is answered once: by [`finish`](Message::finish) or
/// [`requeue`](Message::requeue). Dropped unanswered, it is requeued at once.
#[must_use = "a message dropped unanswered is delivered again"]
pub struct Message {
    raw: RawMessage,
    received: Instant,
    /// The deadline, in milliseconds after `received`. Shared knowledge of ours; nsqd has its own.
    deadline_ms: AtomicU64,
    origin: Arc<Origin>,
    answered: bool,
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
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
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
            answered: false,
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

    /// `host:port` of the nsqd that holds it, as configured or discovered.
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
    /// deadline, which is logged and counted in
    /// [`ConsumerStats::refused_answers`](crate::ConsumerStats::refused_answers).
    ///
    /// # Errors
    /// [`AnswerError::ConnectionLost`]: the message comes again.
    pub fn finish(mut self) -> Result<(), AnswerError> {
        self.answer(LinkCommand::Finish(self.raw.id))
    }

    /// Not done: nsqd delivers it again after `delay` (of whole milliseconds), to anyone. It shortens
    /// what is over its `--max-req-timeout` (1 h) to that.
    ///
    /// # Errors
    /// [`AnswerError::ConnectionLost`]: the message comes again, when its deadline has passed.
    pub fn requeue(mut self, delay: Duration) -> Result<(), AnswerError> {
        self.answer(LinkCommand::Requeue {
            id: self.raw.id,
            delay,
        })
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
            deadline: self.received + deadline,
        })?;
        self.deadline_ms.fetch_max(millis(deadline), Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn generation(&self) -> u64 {
        self.origin.generation
    }

    /// Drops the message without a word to nsqd, which has given it up already.
    pub(super) fn forget(mut self) {
        self.answered = true;
    }

    fn answer(&mut self, command: LinkCommand) -> Result<(), AnswerError> {
        self.answered = true;
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
        if !self.answered {
            // With the connection gone, nsqd requeues it by itself.
            let _ = self.send(LinkCommand::Requeue {
                id: self.raw.id,
                delay: Duration::ZERO,
            });
        }
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
