//! Uploads that are not taken in.

use safelight_database::{Accepted, UnderKey};
use safelight_service::Problem;

use crate::problems;
use crate::upload_key::HELD_FOR;

/// Why an upload is not taken in.
pub(crate) enum Turned {
    /// It cannot be.
    Away(Problem),
    /// It was, at an earlier try.
    Taken(Accepted),
}

// === impl Turned ===

impl From<Problem> for Turned {
    fn from(problem: Problem) -> Self {
        Self::Away(problem)
    }
}

/// Goes on where nothing stands under the sender's key.
pub(crate) fn free(under: UnderKey) -> Result<(), Turned> {
    match under {
        UnderKey::Free => Ok(()),
        UnderKey::Held => Err(problems::upload_under_way(HELD_FOR.as_secs()).into()),
        UnderKey::Recorded(accepted) => Err(Turned::Taken(accepted)),
    }
}
