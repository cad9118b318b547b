//! What is said of files that are sent.

use axum::http::StatusCode;
use safelight_database as database;
use safelight_service::Problem;
use safelight_store::StoreError;

use super::{AWAY_RETRY_SECONDS, internal};

/// Seconds after which a sender may ask what became of its upload.
const UNDER_WAY_RETRY_SECONDS: u64 = 3;

/// As [`database_failed`](super::database_failed), for what is no path and would be recorded twice.
pub(crate) fn database_failed_upload(error: &database::Error, recording: bool) -> Problem {
    if !error.is_unavailable() {
        tracing::error!(%error, "the database refused a statement");
        return internal();
    }
    tracing::debug!(%error, "database away");
    let detail = if recording {
        "the database went away while the file was recorded; GET / tells whether it was, and if not, send it again; with \
         the Idempotency-Key that it was sent with, send it again in any case"
    } else {
        "the database is away, nothing was recorded; send the file again later"
    };
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "database-away",
        "the database is away",
        detail,
    )
    .retry_after(AWAY_RETRY_SECONDS)
}

pub(crate) fn upload_key_wrong(longest: usize) -> Problem {
    let detail = format!(
        "Idempotency-Key: expected one word of 1 to {longest} visible characters of ASCII, such as a UUID"
    );
    Problem::new(
        StatusCode::BAD_REQUEST,
        "idempotency-key-wrong",
        "the key of the upload is wrong",
        detail,
    )
}

pub(crate) fn upload_under_way(seconds: u64) -> Problem {
    let detail = format!(
        "an upload with this Idempotency-Key is under way, or broke off within the last {seconds} s; send it again \
         later, and where it was recorded meanwhile, its record is the answer"
    );
    Problem::new(
        StatusCode::CONFLICT,
        "upload-under-way",
        "the same upload is under way",
        detail,
    )
    .retry_after(UNDER_WAY_RETRY_SECONDS)
}

pub(crate) fn not_a_form() -> Problem {
    let detail = "the content type is not multipart/form-data with a boundary; send the file as a form, \
                  as curl -F data=@picture.png does";
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not-a-form",
        "the body is no form",
        detail,
    )
}

pub(crate) fn form_wrong(reason: &str) -> Problem {
    let detail =
        format!("the form cannot be read: {reason}; send the file as curl -F data=@picture.png does");
    Problem::new(
        StatusCode::BAD_REQUEST,
        "form-wrong",
        "the form cannot be read",
        detail,
    )
}

pub(crate) fn file_missing() -> Problem {
    let detail = "the form has no field 'data'; send the file in it, as curl -F data=@picture.png does";
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "file-missing",
        "no file was sent",
        detail,
    )
}

pub(crate) fn file_empty() -> Problem {
    let detail = "the field 'data' is empty; send a picture or a film";
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "file-empty",
        "the file is empty",
        detail,
    )
}

pub(crate) fn files_many() -> Problem {
    let detail = "the form has several fields 'data'; send each file in a request of its own";
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "files-many",
        "several files were sent",
        detail,
    )
}

pub(crate) fn upload_too_large(most: u64) -> Problem {
    let detail =
        format!("a file may have {most} bytes at most (RECEIVER_MAX_UPLOAD_BYTES); send a smaller one");
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "upload-too-large",
        "the file is too large",
        detail,
    )
}

pub(crate) fn upload_stalled(seconds: u64) -> Problem {
    let detail = format!("not a byte of the file came for {seconds} s; send it again");
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "upload-stalled",
        "the file stopped coming",
        detail,
    )
}

pub(crate) fn upload_late(seconds: u64) -> Problem {
    let detail = format!(
        "the file did not come in whole within {seconds} s; send a smaller one, or over a faster way"
    );
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "upload-late",
        "the file came too slowly",
        detail,
    )
}

pub(crate) fn store_not_set() -> Problem {
    let detail = "this receiver was started without a store for files (STORAGE_URL); post the path of a file that is \
                  already in reach to /image/post";
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "store-not-set",
        "there is no store for files",
        detail,
    )
}

pub(crate) fn store_failed(error: &StoreError, most: u64) -> Problem {
    match error {
        StoreError::TooLarge { .. } => upload_too_large(most),
        StoreError::Full => {
            tracing::warn!("an upload was refused: the store is full");
            let detail = "the store is full, nothing was recorded; send the file again when there is room";
            Problem::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "store-full",
                "the store is full",
                detail,
            )
        }
        StoreError::Missing | StoreError::There | StoreError::Unavailable(_) | StoreError::Overwrites => {
            tracing::warn!(%error, "an upload was refused");
            let detail = "the store does not work just now, nothing was recorded; send the file again later";
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store-away",
                "the store is away",
                detail,
            )
            .retry_after(AWAY_RETRY_SECONDS)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_is_full_and_one_that_is_away_are_told_apart() {
        let away = StoreError::Unavailable(std::io::ErrorKind::ReadOnlyFilesystem.into());
        for (error, status, kind) in [
            (StoreError::Full, StatusCode::INSUFFICIENT_STORAGE, "store-full"),
            (away, StatusCode::SERVICE_UNAVAILABLE, "store-away"),
            (
                StoreError::TooLarge { limit: 5 },
                StatusCode::PAYLOAD_TOO_LARGE,
                "upload-too-large",
            ),
        ] {
            let problem = store_failed(&error, 5);
            assert_eq!(problem.status, status);
            assert_eq!(problem.kind, format!("urn:safelight:problem:{kind}"));
        }
    }
}
