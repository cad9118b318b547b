//! `POST /image/post` and `POST /images/post`.

use std::collections::HashMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use safelight_database::{Accepted, NewImage};
use safelight_service::Problem;
use serde::Serialize;

use crate::accept::{Acceptor, tell};
use crate::body::Held;
use crate::door::{LetIn, Refusal};
use crate::following::Following;
use crate::posted::{Members, Posted, PostedMany};
use crate::problems;
use crate::server::App;

/// How many addresses the entries of one bulk post may name: each is a transaction of its own.
const MOST_ADDRESSES: usize = 100;

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
    let checked = app.door.check(vec![posted], Members::default()).await?;
    let let_in = match checked.into_iter().next() {
        Some(Ok(let_in)) => let_in,
        Some(Err(refusal)) => {
            count_refused(1);
            return Err(refusal.problem);
        }
        None => return Err(problems::internal()),
    };
    let accepted = record(&app, &app.singles, vec![let_in]).await?;
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
    let (posted, beside) =
        match PostedMany::parse(&bytes, most as usize).map_err(|error| problems::not_json(&error))? {
            PostedMany::Entries(entries, beside) => (entries, beside),
            PostedMany::TooMany(entries) => return Err(problems::too_many_entries(entries, most)),
            PostedMany::NoList => return Err(problems::paths_missing()),
        };
    drop(bytes);
    let mut let_in = Vec::with_capacity(posted.len());
    let mut refusals: Vec<Option<Box<Refusal>>> = Vec::with_capacity(posted.len());
    for checked in app.door.check(posted, beside).await? {
        match checked {
            Ok(entry) => {
                let_in.push(entry);
                refusals.push(None);
            }
            Err(refusal) => refusals.push(Some(refusal)),
        }
    }
    count_refused(refusals.len() - let_in.len());
    let accepted = if let_in.is_empty() {
        Vec::new()
    } else {
        record(&app, &app.bulks, let_in).await?
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

/// Records entries; answers in their order. Those that nobody is to be told of share transactions with other posts, and
/// those of one address are a batch.
async fn record(app: &App, plain: &Acceptor, let_in: Vec<LetIn>) -> Result<Vec<Accepted>, Problem> {
    let mut groups: HashMap<Following, (Vec<usize>, Vec<NewImage>)> = HashMap::new();
    let entries = let_in.len();
    for (place, entry) in let_in.into_iter().enumerate() {
        let (places, images) = groups.entry(entry.following).or_default();
        places.push(place);
        images.push(NewImage {
            path: entry.path,
            project: None,
        });
    }
    let addresses = groups.keys().filter(|following| !following.is_nobody()).count();
    if addresses > MOST_ADDRESSES {
        return Err(problems::too_many_addresses(addresses, MOST_ADDRESSES));
    }
    // In the order of the post: of a path that stands in it twice the first entry is the one that is recorded.
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, (places, _))| places.first().copied());
    let mut answers: Vec<Option<Accepted>> = Vec::new();
    answers.resize_with(entries, || None);
    for (following, (places, images)) in groups {
        let accepted = if following.is_nobody() {
            match plain.accept(images).await {
                Some(Ok(accepted)) => accepted,
                Some(Err(error)) => return Err(problems::database_failed(&error)),
                None => return Err(problems::internal()),
            }
        } else {
            let accepted = app.images.accept_batch(&following.batch(None), &images).await;
            let accepted = accepted.map_err(|error| problems::database_failed(&error))?;
            tell(&accepted, &app.committed);
            accepted
        };
        for (place, image) in places.into_iter().zip(accepted) {
            answers[place] = Some(image);
        }
    }
    let answers: Option<Vec<Accepted>> = answers.into_iter().collect();
    answers.ok_or_else(problems::internal)
}

pub(crate) fn count_refused(images: usize) {
    metrics::counter!("safelight_receiver_images_total", "outcome" => "refused").increment(images as u64);
}
