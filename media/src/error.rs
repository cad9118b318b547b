use std::io;

use safelight_store::StoreError;
use thiserror::Error;

/// Why a picture was not opened, by what can be done about it.
///
/// `Display` is a sentence for the person who sent the picture: it names neither folders of the machine
/// nor anything inside the program.
#[derive(Debug, Error)]
pub enum MediaError {
    /// The URI is not one that this library opens. Send another one, or allow its folder in `MEDIA_ROOTS`.
    #[error("the path is refused: {0}")]
    Refused(String),
    /// There is no such file.
    #[error("there is no such file")]
    Missing,
    /// The file has no bytes; it may still be being written.
    #[error("the file is empty")]
    Empty,
    /// The file, or what it would become when decoded, is over a limit.
    #[error("the picture is too large: {found} {unit}, at most {limit} are allowed ({setting})")]
    TooLarge {
        /// What was counted: `bytes`, `pixels`, `pixels on one side`, `bytes when decoded`.
        unit: &'static str,
        /// How many there are.
        found: u64,
        /// How many are allowed.
        limit: u64,
        /// The variable that sets the limit.
        setting: &'static str,
    },
    /// The first bytes are those of no picture format.
    #[error("the file is not a picture")]
    NotAPicture,
    /// The file begins as a picture and does not go on as one: damaged, or cut off.
    #[error("the picture is damaged: {0}")]
    Corrupt(String),
    /// A picture of a format, or with a feature, that is not supported.
    #[error("the picture's format is not supported: {0}")]
    Unsupported(String),
    /// The storage did not give the file. The same file may be readable later.
    #[error("the storage could not be read: {0}")]
    Unreadable(#[source] io::Error),
}

impl MediaError {
    /// Whether the same URI may work later without anybody changing the file: only where the storage, and
    /// not the file, is at fault.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreadable(_))
    }
}

impl From<StoreError> for MediaError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing => Self::Missing,
            StoreError::Unavailable(error) => Self::Unreadable(error),
            error => Self::Unreadable(io::Error::other(error.to_string())),
        }
    }
}
