//! What can go wrong, by what the caller can do about it.

use std::error::Error as StdError;

use async_nsq::{ErrorCode, PublishError, PublishManyError};
use safelight_database::Error as DatabaseError;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Why the queue did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The back end is away, or did not answer in time: try again. A message published may be stored
    /// all the same and then comes twice, which receivers must bear anyway.
    #[error("the queue is not available: {0}")]
    Unavailable(#[source] BoxError),
    /// The delivery is no longer this receiver's to answer: its time has passed, or its connection is
    /// gone. It comes again, here or elsewhere.
    #[error("the delivery is no longer held here and comes again: {0}")]
    Lost(#[source] BoxError),
    /// The same call will be refused again: a bad name, an empty or oversized message, or a queue that
    /// was not configured for it.
    #[error("{0}")]
    Invalid(String),
}

// === impl QueueError ===

impl QueueError {
    /// Whether the same call may succeed later.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, QueueError::Unavailable(_))
    }

    pub(crate) fn of_publish(error: PublishManyError) -> Self {
        // A batch over a limit of nsqd that was not known is cut by it the next time.
        let over_a_limit = |reason: &PublishError| matches!(reason, PublishError::Rejected(refusal) if refusal.code == ErrorCode::BadBody);
        let mut reasons = error.failed.iter().map(|(_, reason)| reason);
        let retryable = reasons.all(|reason| reason.is_retryable() || over_a_limit(reason));
        if retryable {
            QueueError::Unavailable(error.into())
        } else {
            QueueError::Invalid(error.to_string())
        }
    }

    pub(crate) fn of_database(error: DatabaseError) -> Self {
        match error {
            DatabaseError::LostClaim | DatabaseError::NotFound => QueueError::Lost(error.into()),
            DatabaseError::Invalid(reason) => QueueError::Invalid(reason),
            error => QueueError::Unavailable(error.into()),
        }
    }
}

impl From<async_nsq::InvalidName> for QueueError {
    fn from(error: async_nsq::InvalidName) -> Self {
        QueueError::Invalid(error.to_string())
    }
}

impl From<async_nsq::ConfigError> for QueueError {
    fn from(error: async_nsq::ConfigError) -> Self {
        QueueError::Invalid(error.to_string())
    }
}

impl From<async_nsq::AnswerError> for QueueError {
    fn from(error: async_nsq::AnswerError) -> Self {
        QueueError::Lost(error.into())
    }
}
