//! The pages for what went wrong.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use safelight_database as database;
use safelight_media::MediaError;

use crate::page;

/// After how many seconds a page that may work later loads itself again.
const RELOAD_SECONDS: u64 = 5;

/// Why a page cannot be shown.
#[derive(Debug)]
pub(crate) enum PageError {
    /// The address is wrong; why, in a sentence.
    Wrong(&'static str),
    /// There is nothing at this address.
    NotFound,
    /// Only GET is answered.
    MethodNotAllowed,
    /// There is no image of this id.
    NoSuchImage,
    /// The image is known, but its file cannot be shown.
    Picture(MediaError),
    /// The database is away.
    DatabaseAway,
    /// The database did not answer in time.
    Late,
    /// As many requests are running as are allowed.
    Overloaded,
    /// A fault of ours, which is in the log.
    Internal,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    title: &'static str,
    advice: String,
    reload_seconds: Option<u64>,
}

impl From<database::Error> for PageError {
    fn from(error: database::Error) -> Self {
        if error.is_unavailable() {
            // Readiness tells the log of an outage once.
            tracing::debug!(%error, "database away");
            return Self::DatabaseAway;
        }
        tracing::error!(%error, "the database refused a query");
        Self::Internal
    }
}

impl PageError {
    fn told(self) -> (StatusCode, &'static str, String) {
        let told = |status, title, advice: &str| (status, title, advice.to_owned());
        match self {
            Self::Wrong(why) => told(StatusCode::BAD_REQUEST, "This address does not work", why),
            Self::NotFound => told(
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "The list of all images leads everywhere.",
            ),
            Self::MethodNotAllowed => told(
                StatusCode::METHOD_NOT_ALLOWED,
                "This page only reads",
                "Images are posted to the receiver, and not to this page.",
            ),
            Self::NoSuchImage => told(
                StatusCode::NOT_FOUND,
                "There is no such image",
                "No image has this number. It may have been deleted, or the address was cut off.",
            ),
            Self::Picture(error) => {
                let status = match error {
                    MediaError::Missing | MediaError::Refused(_) => StatusCode::NOT_FOUND,
                    MediaError::Unreadable(_) => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::UNPROCESSABLE_ENTITY,
                };
                (
                    status,
                    "The picture cannot be shown",
                    format!("The reason: {error}."),
                )
            }
            Self::DatabaseAway => told(
                StatusCode::SERVICE_UNAVAILABLE,
                "The database is away",
                "Nothing that was posted is lost. This page tries again by itself.",
            ),
            Self::Late => told(
                StatusCode::SERVICE_UNAVAILABLE,
                "That took too long",
                "The database did not answer in time. This page tries again by itself.",
            ),
            Self::Overloaded => told(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many at once",
                "More pages are asked for than can be made. This one tries again by itself.",
            ),
            Self::Internal => told(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something broke",
                "This page could not be made. The log of the frontend says why.",
            ),
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, title, advice) = self.told();
        let reload_seconds = (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RELOAD_SECONDS);
        let mut response = match page::html(
            status,
            &ErrorPage {
                title,
                advice,
                reload_seconds,
            },
        ) {
            Ok(response) => response,
            // The template of this very page failed: plain words are left.
            Err(_) => (status, title).into_response(),
        };
        if let Some(seconds) = reload_seconds {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
