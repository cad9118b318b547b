//! What can go wrong, sorted by what a caller can do about it.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::frame::FrameError;

/// The first word of an error frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// `E_INVALID`: a command that nsqd does not know, or not in this state, or with bad parameters.
    Invalid,
    /// `E_BAD_BODY`: a malformed or oversized body of a command.
    BadBody,
    /// `E_BAD_TOPIC`: an illegal topic name.
    BadTopic,
    /// `E_BAD_CHANNEL`: an illegal channel name.
    BadChannel,
    /// `E_BAD_MESSAGE`: an empty or oversized message.
    BadMessage,
    /// `E_PUB_FAILED`: a valid PUB that nsqd could not store.
    PubFailed,
    /// `E_MPUB_FAILED`: a valid MPUB that nsqd could not store, or not all of it.
    MpubFailed,
    /// `E_DPUB_FAILED`: a valid DPUB that nsqd could not store.
    DpubFailed,
    /// `E_SUB_FAILED`: the channel takes no more consumers, or is being deleted.
    SubFailed,
    /// `E_IDENTIFY_FAILED`: the features asked for cannot be combined or set up.
    IdentifyFailed,
    /// `E_AUTH_FIRST`: this nsqd wants AUTH before anything else.
    AuthFirst,
    /// `E_AUTH_FAILED`: the authorization server could not be asked, or refused.
    AuthFailed,
    /// `E_AUTH_DISABLED`: AUTH sent to an nsqd that wants none.
    AuthDisabled,
    /// `E_AUTH_ERROR`: nsqd could not answer an AUTH.
    AuthError,
    /// `E_UNAUTHORIZED`: not permitted on this topic or channel.
    Unauthorized,
    /// `E_BAD_PROTOCOL`: nsqd does not speak protocol version 2.
    BadProtocol,
    /// `E_FIN_FAILED`: the message was no longer this connection's; its deadline had passed. Not fatal.
    FinFailed,
    /// `E_REQ_FAILED`: as [`ErrorCode::FinFailed`], for a requeue. Not fatal.
    ReqFailed,
    /// `E_TOUCH_FAILED`: as [`ErrorCode::FinFailed`], for a touch. Not fatal.
    TouchFailed,
    /// A code this version of the client does not know.
    Other(Box<str>),
}

const CODES: [(&str, ErrorCode); 19] = [
    ("E_INVALID", ErrorCode::Invalid),
    ("E_BAD_BODY", ErrorCode::BadBody),
    ("E_BAD_TOPIC", ErrorCode::BadTopic),
    ("E_BAD_CHANNEL", ErrorCode::BadChannel),
    ("E_BAD_MESSAGE", ErrorCode::BadMessage),
    ("E_PUB_FAILED", ErrorCode::PubFailed),
    ("E_MPUB_FAILED", ErrorCode::MpubFailed),
    ("E_DPUB_FAILED", ErrorCode::DpubFailed),
    ("E_SUB_FAILED", ErrorCode::SubFailed),
    ("E_IDENTIFY_FAILED", ErrorCode::IdentifyFailed),
    ("E_AUTH_FIRST", ErrorCode::AuthFirst),
    ("E_AUTH_FAILED", ErrorCode::AuthFailed),
    ("E_AUTH_DISABLED", ErrorCode::AuthDisabled),
    ("E_AUTH_ERROR", ErrorCode::AuthError),
    ("E_UNAUTHORIZED", ErrorCode::Unauthorized),
    ("E_BAD_PROTOCOL", ErrorCode::BadProtocol),
    ("E_FIN_FAILED", ErrorCode::FinFailed),
    ("E_REQ_FAILED", ErrorCode::ReqFailed),
    ("E_TOUCH_FAILED", ErrorCode::TouchFailed),
];

/// What nsqd said in an error frame: a code, a space, and a detail for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nsqd answered {code}: {detail}")]
pub struct ServerError {
    /// The first word.
    pub code: ErrorCode,
    /// All behind the first word; for FIN, REQ and TOUCH it names the message.
    pub detail: String,
}

/// Why a connection could not be made, or ended.
///
/// Cloneable, because one loss is told to everybody who waited on the connection.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The address could not be resolved, or nobody took the connection there.
    #[error("could not connect to {address}: {source}")]
    Dial {
        /// `host:port` as configured.
        address: String,
        /// The operating system's reason.
        source: Arc<io::Error>,
    },
    /// Connecting and introducing ourselves took longer than configured.
    #[error("{address} did not answer within {after:?} of connecting")]
    HandshakeTimeout {
        /// `host:port` as configured.
        address: String,
        /// The limit that passed.
        after: Duration,
    },
    /// The other side closed the connection in an orderly way, perhaps in the middle of a frame.
    #[error("the connection was closed by nsqd")]
    Closed,
    /// Reading or writing failed.
    #[error("the connection broke: {0}")]
    Io(Arc<io::Error>),
    /// Nothing, not even a heartbeat, was heard for too long.
    #[error("nothing was heard from nsqd for {0:?}")]
    Silent(Duration),
    /// nsqd did not take a single byte for too long.
    #[error("nsqd took no data for {0:?}")]
    Stalled(Duration),
    /// What came cannot be a frame of nsqd's.
    #[error("not nsqd's protocol: {0}")]
    Frame(#[from] FrameError),
    /// A well-formed frame in a place where nsqd would not send it.
    #[error("not nsqd's protocol: {0}")]
    Protocol(&'static str),
    /// nsqd refused us, and closed the connection.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {expected}")]
pub struct ConfigError {
    /// The field's name.
    pub field: &'static str,
    /// What was expected there.
    pub expected: &'static str,
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

// === impl ErrorCode ===

impl ErrorCode {
    /// The code as it stands on the wire, such as `E_BAD_TOPIC`.
    pub fn as_str(&self) -> &str {
        if let ErrorCode::Other(word) = self {
            return word;
        }
        CODES
            .iter()
            .find(|(_, code)| code == self)
            .map_or("", |(word, _)| word)
    }

    /// Whether nsqd closes the connection after this error, without looking at what was sent behind it.
    ///
    /// A code that is not known is not taken for fatal: if nsqd does close, that will be seen.
    pub fn is_fatal(&self) -> bool {
        !matches!(
            self,
            ErrorCode::FinFailed | ErrorCode::ReqFailed | ErrorCode::TouchFailed | ErrorCode::Other(_)
        )
    }
}

impl From<&str> for ErrorCode {
    fn from(word: &str) -> Self {
        let known = CODES.iter().find(|(name, _)| *name == word);
        known.map_or_else(|| ErrorCode::Other(word.into()), |(_, code)| code.clone())
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl ServerError ===

impl ServerError {
    /// Reads the data of an error frame. Never fails: what is not text becomes replacement characters.
    pub fn parse(data: &[u8]) -> Self {
        let text = String::from_utf8_lossy(data);
        let (word, detail) = text.split_once(' ').unwrap_or((&text, ""));
        Self {
            code: ErrorCode::from(word),
            detail: detail.to_owned(),
        }
    }
}

// === impl ConnectionError ===

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        ConnectionError::Io(Arc::new(error))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_way_to_text_and_back() {
        for (word, code) in CODES {
            assert_eq!(ErrorCode::from(word), code);
            assert_eq!(code.as_str(), word);
        }
    }

    #[test]
    fn the_first_word_decides_and_the_rest_is_detail() {
        let error = ServerError::parse(b"E_FIN_FAILED FIN 0123456789abcdef failed not in flight");
        assert_eq!(error.code, ErrorCode::FinFailed);
        assert!(!error.code.is_fatal());
        assert_eq!(error.detail, "FIN 0123456789abcdef failed not in flight");
    }

    #[test]
    fn an_error_without_detail_or_with_an_unknown_code_is_still_an_error() {
        assert_eq!(ServerError::parse(b"E_INVALID").code, ErrorCode::Invalid);
        assert_eq!(ServerError::parse(b"").code, ErrorCode::Other("".into()));
        let strange = ServerError::parse(b"E_NEW thing");
        assert_eq!(strange.code.as_str(), "E_NEW");
        assert!(!strange.code.is_fatal());
    }
}
