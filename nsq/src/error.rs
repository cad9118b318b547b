//! What can go wrong, sorted by what a caller can do about it.

mod connection;
mod server;
mod tls;

use std::time::Duration;

pub use connection::ConnectionError;
pub use server::{ErrorCode, FailedAnswer, ServerError};
pub use tls::TlsError;

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {expected}")]
pub struct ConfigError {
    /// The field's name.
    pub field: &'static str,
    /// What was expected there.
    pub expected: &'static str,
}

/// That a setting is as it was expected.
pub(crate) fn rule(holds: bool, field: &'static str, expected: &'static str) -> Result<(), ConfigError> {
    if holds {
        Ok(())
    } else {
        Err(ConfigError { field, expected })
    }
}

/// A message refused before anything was sent, because nsqd would refuse it and close the connection
/// over it, with all that others are publishing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// A message has at least one byte.
    #[error("an empty message cannot be published")]
    Empty,
    /// A batch has at least one message.
    #[error("an empty batch cannot be published")]
    EmptyBatch,
    /// Longer than nsqd's `--max-msg-size`, as configured.
    #[error("a message of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// The message's length in bytes.
        size: usize,
        /// [`ProducerConfig::max_message_size`](crate::ProducerConfig::max_message_size).
        limit: usize,
    },
    /// Longer, all together, than nsqd's `--max-body-size`, as configured.
    #[error("a batch of {size} bytes is over the limit of {limit}; split it")]
    BatchTooLarge {
        /// The batch's length in bytes, framing included.
        size: usize,
        /// [`ProducerConfig::max_body_size`](crate::ProducerConfig::max_body_size).
        limit: usize,
    },
    /// Longer than nsqd's `--max-req-timeout`, as configured.
    #[error("a delay of {delay:?} is over the limit of {limit:?}")]
    DelayTooLong {
        /// The delay asked for.
        delay: Duration,
        /// [`ProducerConfig::max_delay`](crate::ProducerConfig::max_delay).
        limit: Duration,
    },
}

/// Why a message was certainly not sent.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent {
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
    /// The deadline passed while there was no connection.
    #[error("not connected: {0}")]
    Disconnected(ConnectionError),
    /// The deadline passed before the first connection was made.
    #[error("not connected yet")]
    Connecting,
    /// The deadline passed while the message waited behind others.
    #[error("too many messages are waiting to be sent")]
    Busy,
}

/// What became of a message that was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Refused on this side. Publishing it again will not help.
    #[error(transparent)]
    Invalid(#[from] InvalidMessage),
    /// Certainly not stored, and it never will be: publish it again without fear of doubling it.
    #[error("not sent: {0}")]
    NotSent(#[from] NotSent),
    /// nsqd refused it. Not stored, except that part of a batch may be after
    /// [`ErrorCode::MpubFailed`].
    #[error("rejected: {0}")]
    Rejected(ServerError),
    /// It was sent, and the connection ended before nsqd answered. Stored or not: who publishes it
    /// again must expect it twice.
    #[error("sent, but never acknowledged: {0}")]
    Unknown(ConnectionError),
    /// It was sent, and nsqd did not answer before the deadline. Stored, or not, or not yet.
    #[error("sent, but not acknowledged within {0:?}")]
    Unanswered(Duration),
}

// === impl PublishError ===

impl PublishError {
    /// Whether publishing again can store the message twice.
    pub fn may_be_stored(&self) -> bool {
        match self {
            PublishError::Unknown(_) | PublishError::Unanswered(_) => true,
            PublishError::Rejected(error) => error.code == ErrorCode::MpubFailed,
            PublishError::Invalid(_) | PublishError::NotSent(_) => false,
        }
    }

    /// Whether publishing the same message again, later, can succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            PublishError::Invalid(_) => false,
            PublishError::NotSent(reason) => !matches!(reason, NotSent::Closed),
            PublishError::Rejected(error) => {
                use ErrorCode::{AuthError, AuthFailed, DpubFailed, MpubFailed, PubFailed};
                matches!(
                    error.code,
                    PubFailed | MpubFailed | DpubFailed | AuthFailed | AuthError
                )
            }
            PublishError::Unknown(_) | PublishError::Unanswered(_) => true,
        }
    }
}
