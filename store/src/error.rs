use std::io;

use thiserror::Error;

/// Why the store did not do what it was asked. `Display` names neither folders of the machine nor keys.
#[derive(Debug, Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("there is no such object in the store")]
    Missing,
    /// There is an object under this key already, and it stays.
    #[error("there is an object under this key already")]
    There,
    /// There is no room for it.
    #[error("the store is full")]
    Full,
    /// The object is larger than its reader takes.
    #[error("the object is larger than {limit} bytes")]
    TooLarge {
        /// In bytes.
        limit: u64,
    },
    /// It could not be reached or did not answer as it should. What was asked may work later.
    #[error("the store does not work: {0}")]
    Unavailable(#[source] io::Error),
    /// It writes over what is there, so that nothing in it would stay as it is. Nothing is put into it.
    #[error(
        "this store ignores conditional writes (If-None-Match: *), which keep one result from being written over another; \
         use one that honours them"
    )]
    Overwrites,
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Unavailable(error),
        }
    }
}

impl StoreError {
    /// Where an object is put, nothing that is asked for can be missing: what is, is on the way there.
    pub(crate) fn of_putting(self) -> Self {
        match self {
            Self::Missing => Self::Unavailable(io::ErrorKind::NotFound.into()),
            error => error,
        }
    }
}
