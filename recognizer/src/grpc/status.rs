use safelight_media::MediaError;
use tonic::{Code, Status};

use crate::analysis::AnalyzeError;
use crate::recognizer::{EnrollError, ForgetError};

// The code tells the caller what to do: INVALID_ARGUMENT and NOT_FOUND are about the picture and final,
// ABORTED and INTERNAL may be tried again, RESOURCE_EXHAUSTED and UNAVAILABLE mean that nothing was begun.

impl From<AnalyzeError> for Status {
    fn from(error: AnalyzeError) -> Self {
        let code = match &error {
            AnalyzeError::Media(MediaError::Missing) => Code::NotFound,
            AnalyzeError::Media(media) if media.is_retryable() => Code::Aborted,
            AnalyzeError::Media(_) => Code::InvalidArgument,
            AnalyzeError::Busy => Code::ResourceExhausted,
            AnalyzeError::NotServing(_) => Code::Unavailable,
            AnalyzeError::Crashed => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<EnrollError> for Status {
    fn from(error: EnrollError) -> Self {
        match error {
            EnrollError::Analyze(error) => error.into(),
            EnrollError::Name(_) => Self::invalid_argument(error.to_string()),
            EnrollError::NotOneFace(_) | EnrollError::NoDatabase => {
                Self::failed_precondition(error.to_string())
            }
            EnrollError::Database(error) => database_status(&error),
        }
    }
}

impl From<ForgetError> for Status {
    fn from(error: ForgetError) -> Self {
        match error {
            ForgetError::Unknown => Self::not_found(error.to_string()),
            ForgetError::InFolder => Self::failed_precondition(error.to_string()),
            ForgetError::Database(error) => database_status(&error),
        }
    }
}

/// What the database said goes into the log, and not to the caller.
fn database_status(error: &safelight_database::Error) -> Status {
    tracing::warn!(%error, "the database failed a call");
    if error.is_unavailable() {
        Status::unavailable("the database is away")
    } else {
        Status::internal("the database refused")
    }
}
