//! What an answer of the recognizer means for the image.

use safelight_database::Fault;
use safelight_mesh::CallFailure;
use tonic::{Code, Status};

/// What becomes of an image whose call did not bring a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The image itself is the trouble: failed at once, with this reason.
    Bad(Fault, String),
    /// This try went wrong and another may go right.
    Again(Fault, String),
    /// The service is away, full, or wrongly set up: the image waits, and no try is used.
    Wait(String),
    /// The service died or fell silent while it held this image, and nobody can say whether the image did
    /// it. It waits, and the claim stays counted, so that an image that kills its worker three times ends.
    Interrupted(String),
}

/// Judges a failed call. `alive` says whether the service answered another call well while this one ran:
/// then what befell this one alone is this image's affair, and costs it a try. Otherwise a service that is
/// broken for everybody would use up the tries of whatever it is given.
pub fn judge(status: &Status, alive: bool) -> Verdict {
    let said = said(status);
    match safelight_mesh::failure_of(status) {
        CallFailure::NotSent | CallFailure::Overloaded => Verdict::Wait(said),
        CallFailure::Broken => Verdict::Interrupted(said),
        CallFailure::TimedOut if alive => Verdict::Again(Fault::Timeout, said),
        CallFailure::TimedOut => Verdict::Interrupted(said),
        CallFailure::Answered(code) => match code {
            Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition => {
                Verdict::Bad(Fault::Bad, said)
            }
            Code::OutOfRange => Verdict::Bad(Fault::Limit, said),
            Code::Aborted => Verdict::Again(Fault::Storage, said),
            Code::Internal | Code::Unknown | Code::DataLoss if alive => Verdict::Again(Fault::Internal, said),
            _ => Verdict::Wait(said),
        },
    }
}

/// The message of a status, or its code's description where it has none, cut to what the database keeps.
fn said(status: &Status) -> String {
    const LONGEST: usize = 1000;
    let message = status.message();
    let text = if message.is_empty() {
        status.code().description()
    } else {
        message
    };
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_bad(status: &Status) -> bool {
        matches!(judge(status, true), Verdict::Bad(..))
    }

    #[test]
    fn a_bad_picture_is_bad_whatever_the_service_is_like() {
        for status in [
            Status::invalid_argument("truncated"),
            Status::not_found("no such file"),
        ] {
            assert!(is_bad(&status));
            assert_eq!(judge(&status, true), judge(&status, false));
        }
    }

    #[test]
    fn a_full_service_makes_the_image_wait() {
        let status = Status::resource_exhausted("queue full");
        assert_eq!(judge(&status, true), Verdict::Wait("queue full".to_owned()));
    }

    #[test]
    fn an_internal_error_costs_a_try_only_where_the_service_works_for_others() {
        let status = Status::internal("bug");
        assert_eq!(
            judge(&status, true),
            Verdict::Again(Fault::Internal, "bug".to_owned())
        );
        assert_eq!(judge(&status, false), Verdict::Wait("bug".to_owned()));
    }

    #[test]
    fn a_service_that_is_wrongly_set_up_fails_no_image() {
        for status in [
            Status::unimplemented(""),
            Status::permission_denied(""),
            Status::unauthenticated(""),
        ] {
            assert!(matches!(judge(&status, true), Verdict::Wait(_)));
        }
    }
}
