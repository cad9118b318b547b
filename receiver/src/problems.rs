//! Every error that a caller can get, in one place: the kinds are part of the contract.

use axum::http::{Method, StatusCode, Uri};
use safelight_database as database;
use safelight_media::MediaError;
use safelight_service::Problem;

mod uploads;

pub(crate) use uploads::*;

/// Seconds after which a caller may try again when a thing we need is away.
const AWAY_RETRY_SECONDS: u64 = 2;

pub(crate) fn not_json(error: &serde_json::Error) -> Problem {
    let detail =
        format!("{error}; post a JSON object, such as {{\"path\":\"/unknown_people/unknown220.jpg\"}}");
    Problem::new(
        StatusCode::BAD_REQUEST,
        "not-json",
        "the body is not JSON",
        detail,
    )
}

pub(crate) fn path_missing(detail: &str) -> Problem {
    let detail = format!("{detail}; post an object such as {{\"path\":\"/unknown_people/unknown220.jpg\"}}");
    Problem::new(
        StatusCode::BAD_REQUEST,
        "path-missing",
        "no path was given",
        detail,
    )
}

pub(crate) fn paths_missing() -> Problem {
    let detail =
        "post an object with a list, such as {\"paths\":[{\"path\":\"/a.jpg\"},{\"path\":\"/b.jpg\"}]}";
    Problem::new(
        StatusCode::BAD_REQUEST,
        "paths-missing",
        "no list of paths was given",
        detail,
    )
}

pub(crate) fn path_not_taken(error: &MediaError) -> Problem {
    path_refused(error.to_string())
}

pub(crate) fn path_too_long(bytes: usize, most: usize) -> Problem {
    path_refused(format!("the path has {bytes} bytes, at most {most} are taken"))
}

fn path_refused(detail: String) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "path-refused",
        "the path was refused",
        detail,
    )
}

pub(crate) fn too_many_entries(entries: usize, most: u32) -> Problem {
    let detail =
        format!("{entries} entries were posted, {most} are taken at most; post them in several requests");
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-many-entries",
        "too many entries",
        detail,
    )
}

pub(crate) fn too_many_addresses(addresses: usize, most: usize) -> Problem {
    let detail = format!(
        "{addresses} different addresses are to be told, {most} are taken at most; post them in several requests"
    );
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-many-addresses",
        "too many addresses",
        detail,
    )
}

pub(crate) fn body_too_large(most: usize, entries: u32) -> Problem {
    let detail = format!(
        "a body may have {most} bytes at most, and a bulk post {entries} entries; post it in several requests"
    );
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body-too-large",
        "the body is too large",
        detail,
    )
}

pub(crate) fn body_incomplete() -> Problem {
    let detail = "the connection broke off within the body; post it again";
    Problem::new(
        StatusCode::BAD_REQUEST,
        "body-incomplete",
        "the body is incomplete",
        detail,
    )
}

pub(crate) fn body_late(seconds: u64) -> Problem {
    let detail = format!("the body did not arrive within {seconds} s; post it again, in smaller parts");
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "body-late",
        "the body came too slowly",
        detail,
    )
}

pub(crate) fn query_wrong(detail: &str) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "query-wrong",
        "a query parameter is wrong",
        detail,
    )
}

pub(crate) fn image_unknown(id: &str) -> Problem {
    let id: String = id.chars().take(40).collect();
    let detail = format!("there is no image '{id}'; GET / lists those that are there");
    Problem::new(StatusCode::NOT_FOUND, "image-unknown", "no such image", detail)
}

pub(crate) fn output_unknown(role: &str) -> Problem {
    let role: String = role.chars().take(40).collect();
    let detail = format!("nothing called '{role}' was made of this image; GET /images/ID lists what was");
    Problem::new(StatusCode::NOT_FOUND, "output-unknown", "no such output", detail)
}

pub(crate) fn output_unreadable() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "output-unreadable",
        "the output cannot be read",
        "the store did not hand it out; it is safe there, ask again later",
    )
}

pub(crate) fn route_unknown(uri: &Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!(
        "there is nothing at '{path}'; images are taken at POST /image/post, POST /images/post and POST /prepare"
    );
    Problem::new(StatusCode::NOT_FOUND, "not-found", "no such address", detail)
}

pub(crate) fn method_wrong(method: &Method, uri: &Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!("{method} is not possible at '{path}'; the Allow header says what is");
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "method not allowed",
        detail,
    )
}

pub(crate) fn overloaded() -> Problem {
    let detail = "as many requests are running as this receiver takes; post it again later";
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded",
        "too many requests at once",
        detail,
    )
    .retry_after(1)
}

pub(crate) fn request_late(seconds: u64) -> Problem {
    let detail = format!(
        "the request was not done within {seconds} s and may or may not have been recorded; post it again: \
         the same path is never recorded twice"
    );
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "timed-out",
        "the request took too long",
        detail,
    )
    .retry_after(AWAY_RETRY_SECONDS)
}

pub(crate) fn database_failed(error: &database::Error) -> Problem {
    if error.is_unavailable() {
        // Readiness tells the log of an outage once; a line a request would bury it.
        tracing::debug!(%error, "database away");
        let detail = "the database is away, nothing is known to be recorded; post it again: the same path is \
                      never recorded twice";
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "database-away",
            "the database is away",
            detail,
        )
        .retry_after(AWAY_RETRY_SECONDS);
    }
    tracing::error!(%error, "the database refused a statement");
    internal()
}

pub(crate) fn internal() -> Problem {
    let detail = "the receiver failed at this request; its log says why";
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "internal error",
        detail,
    )
}

pub(crate) fn address_missing() -> Problem {
    let detail = "nobody would be told; say who is, as in POST /prepare?email=a@example.org or \
                  ?webhook=https://example.org/told";
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "address-missing",
        "no address was given",
        detail,
    )
}

pub(crate) fn email_refused(reason: &str) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "email-refused",
        "the address of mail was refused",
        format!("email: {reason}; give one address, such as a@example.org"),
    )
}

pub(crate) fn webhook_refused(reason: &str) -> Problem {
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "webhook-refused",
        "the address of the webhook was refused",
        format!("webhook: {reason}"),
    )
}
