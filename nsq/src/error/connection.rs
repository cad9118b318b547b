//! Why there is no connection, or none any more.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{ServerError, TlsError};
use crate::frame::FrameError;

/// Why a connection could not be made, or ended.
///
/// Cloneable, because one loss is told to everybody who waited on the connection.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The address could not be resolved, or nobody took the connection there.
    #[error("could not connect to {address}: {source}")]
    Dial {
        /// The address as configured.
        address: String,
        /// The operating system's reason.
        source: Arc<io::Error>,
    },
    /// Connecting and introducing ourselves took longer than configured.
    #[error("{address} did not answer within {after:?} of connecting")]
    HandshakeTimeout {
        /// The address as configured.
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
    /// nsqd lives, and did not answer a command for too long, as when its disk hangs.
    #[error("nsqd did not answer a publish within {0:?}")]
    Unanswering(Duration),
    /// nsqd did not take a single byte for too long.
    #[error("nsqd took no data for {0:?}")]
    Stalled(Duration),
    /// What came cannot be a frame of nsqd's.
    #[error("not nsqd's protocol: {0}")]
    Frame(#[from] FrameError),
    /// A well-formed frame in a place where nsqd would not send it.
    #[error("not nsqd's protocol: {0}")]
    Protocol(&'static str),
    /// TLS was asked for, and could not be had.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// nsqd wants AUTH, and no secret is configured.
    #[error("this nsqd wants AUTH, and no secret is configured")]
    AuthSecretMissing,
    /// nsqd refused us, and closed the connection.
    #[error(transparent)]
    Server(#[from] ServerError),
}

// === impl ConnectionError ===

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        #[cfg(feature = "tls")]
        if let Some(error) = TlsError::of(&error) {
            return ConnectionError::Tls(error);
        }
        // An nsqd that closes leaves out TLS's own farewell. Frames carry their lengths, so nothing is
        // taken for complete that was cut off.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return ConnectionError::Closed;
        }
        ConnectionError::Io(Arc::new(error))
    }
}
