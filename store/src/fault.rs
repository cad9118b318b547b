//! What went wrong on the way to a bucket, in our words: those of the client name keys and hosts.

use std::error::Error as _;
use std::io::{self, ErrorKind};

use object_store::Error;
use object_store::client::{HttpError, HttpErrorKind};

use crate::error::StoreError;

/// How stores say in their answers that there is no room: S3 in general, MinIO, Azure.
const FULL: [&str; 4] = [
    "QuotaExceeded",
    "InsufficientStorage",
    "XMinioStorageFull",
    "AccountLimitExceeded",
];
/// How they say that not only the object is missing.
const NO_BUCKET: [&str; 3] = ["NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"];

pub(crate) fn fault(error: Error) -> StoreError {
    let said = error.to_string();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let status = status_in(&said);
    let (kind, reason) = match &error {
        _ if says(&NO_BUCKET) => (ErrorKind::Other, "there is no such bucket".to_owned()),
        _ if status == Some("507") || says(&FULL) => return StoreError::Full,
        Error::NotFound { .. } => return StoreError::Missing,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => return StoreError::There,
        // The one thing that we ask for and that a store may not have.
        Error::NotImplemented { .. } => return StoreError::Overwrites,
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => (
            ErrorKind::PermissionDenied,
            "it does not let us in; check the credentials, and what they allow".to_owned(),
        ),
        _ => match (status, transport(&error)) {
            (Some("501"), _) => return StoreError::Overwrites,
            (Some(status), _) => (ErrorKind::Other, format!("it answered {status}")),
            (None, Some(HttpErrorKind::Connect)) => {
                (ErrorKind::NotConnected, "it cannot be reached".to_owned())
            }
            (None, Some(HttpErrorKind::Timeout)) => return late_after(&said),
            (None, Some(_)) => (
                ErrorKind::ConnectionAborted,
                "the connection to it broke".to_owned(),
            ),
            (None, None) => (
                ErrorKind::Other,
                "no request could be made, the log says why".to_owned(),
            ),
        },
    };
    tracing::debug!(error = said, "the bucket failed a request");
    if status.is_none() && transport(&error).is_none() {
        tracing::warn!(%error, "no request could be made to the bucket");
    }
    StoreError::Unavailable(io::Error::new(kind, reason))
}

/// It had its time.
pub(crate) fn late() -> StoreError {
    StoreError::Unavailable(io::Error::new(ErrorKind::TimedOut, "it did not answer in time"))
}

fn late_after(said: &str) -> StoreError {
    tracing::debug!(error = said, "the bucket failed a request");
    late()
}

/// The client tells a status as text alone.
fn status_in(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("status code: ")?;
    rest.get(..3)
}

fn transport(error: &Error) -> Option<HttpErrorKind> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<HttpError>() {
            return Some(error.kind());
        }
        source = cause.source();
    }
    None
}
