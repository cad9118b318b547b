//! Errors, by what a caller can do about them.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::call::DescriptorError;
use crate::grpc::{AsciiMetadataValue, Code, Status};
use crate::settings::SettingsError;
use crate::status_details;
use crate::tls::TlsError;

/// A target that cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The address is none that a target can have.
    #[error("address {address:?} of target {target:?} is not usable: {reason}")]
    Address {
        /// The target.
        target: String,
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting cannot be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What was given as descriptors cannot be read.
    #[error(transparent)]
    Descriptors(#[from] DescriptorError),
    /// There is no tokio runtime to run the target's tasks.
    #[error("a target has tasks of its own and must be built within a tokio runtime")]
    NoRuntime,
}

/// Why a call failed without the server's having answered it. It is the source of the [`Status`] that the call
/// gives; [`failure_of`] sums it up.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The circuit is open: the call was not sent.
    #[error("circuit open for {:.1} s{}", .open_for.as_secs_f64(), because(.last_failure.as_deref()))]
    CircuitOpen {
        /// The target.
        target: Arc<str>,
        /// For how long no call has been let through.
        open_for: Duration,
        /// When it is worth asking again.
        retry_in: Duration,
        /// What opened it.
        last_failure: Option<Arc<str>>,
    },
    /// The circuit is half-open and the one call that it lets through is under way: this one was not sent.
    #[error("circuit half-open, its one call is under way")]
    TrialRunning {
        /// The target.
        target: Arc<str>,
    },
    /// There is no connection and none could be made: the call was not sent.
    #[error("no connection: {reason}")]
    NotConnected {
        /// The target.
        target: Arc<str>,
        /// What the last attempt to connect met.
        reason: Arc<str>,
    },
    /// No endpoint of the target takes calls: the call was not sent.
    #[error("no endpoint: {reason}")]
    NoEndpoint {
        /// The target.
        target: Arc<str>,
        /// Why the one that is asked again soonest does not, or why there is none.
        reason: Arc<str>,
        /// When one of them is asked again whether it is well.
        retry_in: Option<Duration>,
    },
    /// As many calls are in flight and in wait as may be: the call was not sent.
    #[error("queue full: {in_flight} calls are in flight and {in_wait} wait")]
    QueueFull {
        /// The target.
        target: Arc<str>,
        /// The limit of those in flight.
        in_flight: usize,
        /// The limit of those that wait.
        in_wait: usize,
    },
    /// The connection that the call was given to, and on which others had been answered, ended before the server
    /// had begun this one.
    #[error("the connection was closing: {reason}")]
    ConnectionClosed {
        /// The target.
        target: Arc<str>,
        /// How it ended.
        reason: Arc<str>,
    },
    /// The server said that it did not process the call: it refused the stream, or closed the connection for a
    /// reason of its own.
    #[error("not processed by the server: {reason}")]
    NotProcessed {
        /// The target.
        target: Arc<str>,
        /// The server's word.
        reason: String,
    },
    /// The call was sent, and then its connection or its stream broke. The server may have done its work.
    #[error("broken after it was sent: {reason}")]
    Broken {
        /// The target.
        target: Arc<str>,
        /// How it broke.
        reason: String,
    },
    /// Something answered that does not speak gRPC: a proxy, or another server at this address.
    #[error("the answer is not gRPC but HTTP {}", .status.as_u16())]
    NotGrpc {
        /// The target.
        target: Arc<str>,
        /// The HTTP status of the answer.
        status: StatusCode,
    },
    /// The time was up.
    #[error("deadline of {} ms passed {}", .allowed.as_millis(), if *.sent { "while waiting for the answer" } else { "before there was a connection" })]
    DeadlinePassed {
        /// The target.
        target: Arc<str>,
        /// The time that the call had.
        allowed: Duration,
        /// Whether the caller had allowed less than the target's own deadline.
        short: bool,
        /// Whether the call was sent. If not, the server certainly knows nothing of it.
        sent: bool,
    },
}

/// A call that failed, and how far it came.
#[derive(Debug)]
pub(crate) struct Failed {
    error: CallError,
    /// The last endpoint that it was tried at.
    endpoint: Option<Arc<str>>,
    /// How many tries may have reached a server.
    tries: u32,
}

/// A failed call, by what its caller can conclude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailure {
    /// The server certainly did not process it: the circuit was open, no connection, the server refused the
    /// stream. It may be made again without harm.
    NotSent,
    /// The server has no room (`RESOURCE_EXHAUSTED`). Later is better.
    Overloaded,
    /// It was sent, and then the connection died, the answer stopped short or was none of gRPC's. The server may
    /// have processed it.
    Broken,
    /// It was sent, and the time was up. The server may still be at it.
    TimedOut,
    /// The server answered with this code.
    Answered(Code),
}

/// Says what the caller of a failed call can conclude.
///
/// Statuses that other clients than [`MeshChannel`](crate::MeshChannel) made are understood as far as their
/// sources tell.
///
/// ```
/// use safelight_mesh::{CallFailure, failure_of};
/// use tonic::{Code, Status};
///
/// let answer = Status::invalid_argument("not a picture");
/// assert_eq!(failure_of(&answer), CallFailure::Answered(Code::InvalidArgument));
/// ```
pub fn failure_of(status: &Status) -> CallFailure {
    if let Some(error) = find::<CallError>(status) {
        return error.failure();
    }
    if find::<crate::grpc::ConnectError>(status).is_some() {
        return CallFailure::NotSent;
    }
    if find::<crate::grpc::TimeoutExpired>(status).is_some() {
        return CallFailure::TimedOut;
    }
    if let Some(error) = find::<h2::Error>(status) {
        return if was_not_processed(error) {
            CallFailure::NotSent
        } else {
            CallFailure::Broken
        };
    }
    if find::<hyper::Error>(status).is_some() {
        return CallFailure::Broken;
    }
    match status.code() {
        Code::ResourceExhausted => CallFailure::Overloaded,
        Code::DeadlineExceeded => CallFailure::TimedOut,
        code => CallFailure::Answered(code),
    }
}

/// The first error of this type, from `error` down its sources.
pub(crate) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Whether HTTP/2 guarantees that the server did not process the stream: `REFUSED_STREAM`, or above the last
/// stream that a GOAWAY names (RFC 9113, sections 8.7 and 6.8). `h2` gives a stream a remote GOAWAY as its error
/// in no other case.
pub(crate) fn was_not_processed(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

/// An error and its sources in one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = error.source();
    }
    line
}

/// The code for an HTTP status, by gRPC's document on the mapping of HTTP statuses.
fn code_of(status: StatusCode) -> Code {
    match status {
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    }
}

fn because(last_failure: Option<&str>) -> String {
    last_failure
        .map(|why| format!(" after: {why}"))
        .unwrap_or_default()
}

// === impl CallError ===

impl CallError {
    /// The target that was called.
    pub fn target(&self) -> &str {
        match self {
            Self::CircuitOpen { target, .. }
            | Self::TrialRunning { target }
            | Self::NotConnected { target, .. }
            | Self::NoEndpoint { target, .. }
            | Self::QueueFull { target, .. }
            | Self::ConnectionClosed { target, .. }
            | Self::NotProcessed { target, .. }
            | Self::Broken { target, .. }
            | Self::NotGrpc { target, .. }
            | Self::DeadlinePassed { target, .. } => target,
        }
    }

    /// When it is worth asking again, where that is known.
    pub fn retry_in(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { retry_in, .. } => Some(*retry_in),
            Self::NoEndpoint { retry_in, .. } => *retry_in,
            _ => None,
        }
    }

    /// What the caller can conclude.
    pub fn failure(&self) -> CallFailure {
        match self {
            Self::CircuitOpen { .. }
            | Self::TrialRunning { .. }
            | Self::NotConnected { .. }
            | Self::NoEndpoint { .. }
            | Self::QueueFull { .. }
            | Self::ConnectionClosed { .. }
            | Self::NotProcessed { .. }
            | Self::DeadlinePassed { sent: false, .. } => CallFailure::NotSent,
            Self::Broken { .. } => CallFailure::Broken,
            Self::NotGrpc { status, .. } => match *status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
                    CallFailure::Answered(code_of(*status))
                }
                StatusCode::TOO_MANY_REQUESTS => CallFailure::Overloaded,
                _ => CallFailure::Broken,
            },
            Self::DeadlinePassed { sent: true, .. } => CallFailure::TimedOut,
        }
    }

    /// `DEADLINE_EXCEEDED` for a deadline; for an answer that is not gRPC, what the gRPC specification makes of its
    /// HTTP status; else `UNAVAILABLE`.
    pub fn code(&self) -> Code {
        match self {
            Self::DeadlinePassed { .. } => Code::DeadlineExceeded,
            Self::NotGrpc { status, .. } => code_of(*status),
            _ => Code::Unavailable,
        }
    }

    /// Whether a try that ended so certainly was not processed, and may be made elsewhere at once.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(
            self,
            Self::NotConnected { .. } | Self::ConnectionClosed { .. } | Self::NotProcessed { .. }
        )
    }

    /// The word for it in details and metrics: stable, in gRPC's form of an `ErrorInfo.reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CircuitOpen { .. } => "CIRCUIT_OPEN",
            Self::TrialRunning { .. } => "TRIAL_RUNNING",
            Self::NotConnected { .. } => "NOT_CONNECTED",
            Self::NoEndpoint { .. } => "NO_ENDPOINT",
            Self::QueueFull { .. } => "QUEUE_FULL",
            Self::ConnectionClosed { .. } => "CONNECTION_CLOSED",
            Self::NotProcessed { .. } => "NOT_PROCESSED",
            Self::Broken { .. } => "BROKEN",
            Self::NotGrpc { .. } => "NOT_GRPC",
            Self::DeadlinePassed { .. } => "DEADLINE_PASSED",
        }
    }

    /// The error as gRPC has it: a message with the target, the metadata `mesh-target`, `mesh-reason` and, where
    /// it is known, `mesh-retry-in-ms`; `google.rpc.ErrorInfo` and `RetryInfo` as details; and this error as its
    /// source.
    pub fn into_status(self) -> Status {
        Failed::new(self, None, 0).into_status()
    }
}

// === impl Failed ===

impl Failed {
    pub(crate) fn new(error: CallError, endpoint: Option<Arc<str>>, tries: u32) -> Self {
        Self {
            error,
            endpoint,
            tries,
        }
    }

    pub(crate) fn code(&self) -> Code {
        self.error.code()
    }

    pub(crate) fn into_status(self) -> Status {
        let Self {
            error,
            endpoint,
            tries,
        } = self;
        let at = endpoint
            .as_deref()
            .map(|endpoint| format!(" at {endpoint}"))
            .unwrap_or_default();
        let message = format!("{}{at}: {error}", error.target());
        let details = status_details::encode(&error, endpoint.as_deref(), tries, &message);
        let mut status = Status::with_details(error.code(), message, details.into());
        let metadata = status.metadata_mut();
        metadata.insert("mesh-target", ascii(error.target()));
        metadata.insert("mesh-reason", ascii(&error.to_string()));
        if let Some(endpoint) = &endpoint {
            metadata.insert("mesh-endpoint", ascii(endpoint));
        }
        if tries > 0 {
            metadata.insert("mesh-tries", ascii(&tries.to_string()));
        }
        if let Some(retry_in) = error.retry_in() {
            metadata.insert("mesh-retry-in-ms", ascii(&retry_in.as_millis().to_string()));
        }
        status.set_source(Arc::new(error));
        status
    }
}

/// The longest text that goes into metadata. Servers bound the size of headers.
const LONGEST_METADATA: usize = 512;

fn ascii(text: &str) -> AsciiMetadataValue {
    let visible: String = text
        .chars()
        .take(LONGEST_METADATA)
        .map(|letter| if matches!(letter, ' '..='~') { letter } else { '?' })
        .collect();
    visible
        .parse()
        .unwrap_or_else(|_| AsciiMetadataValue::from_static("?"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn open() -> CallError {
        CallError::CircuitOpen {
            target: "recognizer".into(),
            open_for: Duration::from_millis(3210),
            retry_in: Duration::from_millis(790),
            last_failure: Some("UNAVAILABLE: models are loading, größer".into()),
        }
    }

    #[test]
    fn a_status_says_who_why_and_when() {
        let status = open().into_status();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(
            status.message(),
            "recognizer: circuit open for 3.2 s after: UNAVAILABLE: models are loading, größer"
        );
        let metadata = status.metadata();
        assert_eq!(metadata.get("mesh-target").unwrap(), "recognizer");
        assert_eq!(metadata.get("mesh-retry-in-ms").unwrap(), "790");
        assert!(
            metadata
                .get("mesh-reason")
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("circuit open for 3.2 s")
        );
    }

    #[test]
    fn the_typed_error_survives_as_the_source() {
        let status = open().into_status();
        assert!(matches!(
            find::<CallError>(&status),
            Some(CallError::CircuitOpen { .. })
        ));
        assert_eq!(failure_of(&status), CallFailure::NotSent);
        assert_eq!(failure_of(&status.clone()), CallFailure::NotSent);
        // The way an error goes through a client that tonic generates.
        let boxed: crate::BoxError = Box::new(open().into_status());
        assert_eq!(failure_of(&Status::from_error(boxed)), CallFailure::NotSent);
    }

    #[test]
    fn failures_are_told_apart() {
        let target: Arc<str> = "t".into();
        let broken = CallError::Broken {
            target: target.clone(),
            reason: "reset".into(),
        };
        let late = |sent| CallError::DeadlinePassed {
            target: target.clone(),
            allowed: Duration::from_secs(1),
            short: false,
            sent,
        };
        assert_eq!(failure_of(&broken.into_status()), CallFailure::Broken);
        assert_eq!(failure_of(&late(true).into_status()), CallFailure::TimedOut);
        assert_eq!(failure_of(&late(false).into_status()), CallFailure::NotSent);
        assert_eq!(
            failure_of(&Status::resource_exhausted("full")),
            CallFailure::Overloaded
        );
        assert_eq!(
            failure_of(&Status::deadline_exceeded("late")),
            CallFailure::TimedOut
        );
        assert_eq!(
            failure_of(&Status::unavailable("loading")),
            CallFailure::Answered(Code::Unavailable)
        );
        let reset = Status::from(h2::Error::from(h2::Reason::INTERNAL_ERROR));
        assert_eq!(failure_of(&reset), CallFailure::Broken);
    }
}
