//! What can go wrong with a request.

use std::sync::Arc;
use std::time::Duration;

/// Why a request over HTTP brought no answer that can be used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Nothing, or not all, came in time. The server may have done what was asked.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection could not be made, or broke before the answer was there.
    #[error("could not be asked: {0}")]
    Unreachable(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// The server refused, and did nothing.
    #[error("answered with status {status}: {reason}")]
    Status {
        /// The status of the answer; 404 for an unknown topic or channel.
        status: u16,
        /// nsqd's word for it, such as `TOPIC_NOT_FOUND`.
        reason: String,
    },
    /// The answer is over [`HttpConfig::max_answer`](super::HttpConfig::max_answer), or broke off.
    #[error("the answer is over {limit} bytes, or was broken off")]
    Incomplete {
        /// The limit configured.
        limit: usize,
    },
    /// The answer is not what this server's kind answers.
    #[error("the answer is not what nsqd or nsqlookupd would say")]
    Malformed,
}

// === impl HttpError ===

impl HttpError {
    /// Whether the topic, the channel or the node asked for does not exist there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, HttpError::Status { status: 404, .. })
    }

    pub(super) fn unreachable(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        HttpError::Unreachable(Arc::new(error))
    }
}
