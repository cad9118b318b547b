//! What keeps TLS from being set up.

use std::io;
use std::path::PathBuf;

/// TLS that cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// Some of what TLS needs was given, and not all of it.
    #[error("TLS is half configured: missing {missing}, given {given}")]
    HalfConfigured {
        /// What to add.
        missing: String,
        /// What there is.
        given: String,
    },
    /// A file cannot be read.
    #[error("the {what} {} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which of the files.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("the {what} {} is not usable: {reason}", path.display())]
    Malformed {
        /// Which of the files.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key belongs to another certificate.
    #[error("the key {} does not belong to the certificate {}", key.display(), certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// No certificate can have this identity.
    #[error("{identity:?} is neither a host name nor a SPIFFE ID: {reason}")]
    Identity {
        /// What was given.
        identity: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no tokio runtime for the task that watches the files.
    #[error("TLS files are watched by a task and must be opened within a tokio runtime")]
    NoRuntime,
}
