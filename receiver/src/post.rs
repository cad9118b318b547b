//! `POST /image/post` and `POST /images/post`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use safelight_database::{Accepted, NewImage};
use safelight_service::Problem;
use serde::Serialize;

use crate::accept::Acceptor;
use crate::body::Held;
use crate::door::Refusal;
use crate::posted::{Posted, PostedMany};
use crate::problems;
use crate::server::App;

/// A record, as a post is answered with it.
#[derive(Debug, Serialize)]
pub(crate) struct Taken {
    id: i64,
    path: String,
    status: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

impl From<Accepted> for Taken {
    fn from(image: Accepted) -> Self {
        Self {
            id: image.id,
            path: image.path,
            status: image.status.as_str(),
            duplicate: image.duplicate,
        }
    }
}

/// An entry of the answer to a bulk post.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Entry {
    Taken(Taken),
    Refused(Box<Refusal>),
}

/// Records one image: 202 with the new record, or 200 with the one that exists.
pub(crate) async fn one(State(app): State<App>, body: Body) -> Result<Response, Problem> {
    let Held {
        bytes,
        memory: _memory,
    } = app.bodies.read(body).await?;
    let posted = Posted::parse(&bytes).map_err(|error| problems::not_json(&error))?;
    let checked = app.door.check(vec![posted]).await?;
    let path = match checked.into_iter().next() {
        Some(Ok(path)) => path,
        Some(Err(refusal)) => {
            count_refused(1);
            return Err(refusal.problem);
        }
        None => return Err(problems::internal()),
    };
    let accepted = record(&app.singles, vec![path]).await?;
    let Some(image) = accepted.into_iter().next() else {
        return Err(problems::internal());
    };
    let status = if image.duplicate {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, Json(Taken::from(image))).into_response())
}

/// Records many images: 202 with an entry for each, in order, whatever became of them.
pub(crate) async fn many(State(app): State<App>, body: Body) -> Result<Response, Problem> {
    let Held {
        bytes,
        memory: _memory,
    } = app.bodies.read(body).await?;
    let most = app.bulk_entries;
    let posted = match PostedMany::parse(&bytes, most as usize).map_err(|error| problems::not_json(&error))? {
        PostedMany::Entries(entries) => entries,
        PostedMany::TooMany(entries) => return Err(problems::too_many_entries(entries, most)),
        PostedMany::NoList => return Err(problems::paths_missing()),
    };
    drop(bytes);
    let mut let_in = Vec::with_capacity(posted.len());
    let mut refusals: Vec<Option<Box<Refusal>>> = Vec::with_capacity(posted.len());
    for checked in app.door.check(posted).await? {
        match checked {
            Ok(path) => {
                let_in.push(path);
                refusals.push(None);
            }
            Err(refusal) => refusals.push(Some(refusal)),
        }
    }
    count_refused(refusals.len() - let_in.len());
    let accepted = if let_in.is_empty() {
        Vec::new()
    } else {
        record(&app.bulks, let_in).await?
    };
    let mut accepted = accepted.into_iter();
    let mut entries = Vec::with_capacity(refusals.len());
    for refusal in refusals {
        entries.push(match refusal {
            Some(refusal) => Entry::Refused(refusal),
            None => Entry::Taken(accepted.next().ok_or_else(problems::internal)?.into()),
        });
    }
    Ok((StatusCode::ACCEPTED, Json(entries)).into_response())
}

async fn record(acceptor: &Acceptor, paths: Vec<String>) -> Result<Vec<Accepted>, Problem> {
    let images = paths
        .into_iter()
        .map(|path| NewImage { path, project: None })
        .collect();
    match acceptor.accept(images).await {
        Some(Ok(accepted)) => Ok(accepted),
        Some(Err(error)) => Err(problems::database_failed(&error)),
        None => Err(problems::internal()),
    }
}

pub(crate) fn count_refused(images: usize) {
    metrics::counter!("safelight_receiver_images_total", "outcome" => "refused").increment(images as u64);
}
