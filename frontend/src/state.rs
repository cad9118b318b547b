//! The state of an image as people see it.

use std::fmt;

use safelight_database::{ImageRecord, Status};

/// A status, with waiting for a service told apart from waiting for a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its turn has not come.
    Pending,
    /// Somebody works on it.
    Processing,
    /// The named service is away. Nothing failed, and no try was used up.
    Waiting(String),
    Processed,
    Failed,
}

impl State {
    pub(crate) fn of(record: &ImageRecord) -> Self {
        match (record.status, &record.waiting_for) {
            (Status::Pending, Some(service)) => Self::Waiting(service.clone()),
            (Status::Pending, None) => Self::Pending,
            (Status::Processing, _) => Self::Processing,
            (Status::Processed, _) => Self::Processed,
            (Status::Failed, _) => Self::Failed,
        }
    }

    /// One word: the name of its style and of its symbol.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Waiting(_) => "waiting",
            Self::Processed => "processed",
            Self::Failed => "failed",
        }
    }

    pub(crate) fn is_processed(&self) -> bool {
        *self == Self::Processed
    }

    /// Whether it will change by itself.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Processed | Self::Failed)
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting(service) => write!(formatter, "waiting for {service}"),
            state => formatter.write_str(state.key()),
        }
    }
}
