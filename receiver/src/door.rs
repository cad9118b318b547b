//! The door: which paths are let in, and whom to tell of them.

use std::sync::Arc;

use safelight_media::Library;
use safelight_service::Problem;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::following::Following;
use crate::member::Member;
use crate::posted::{Members, Posted};
use crate::problems;

/// How many checks may wait for a file system at once. Storage that hangs holds up this many threads and
/// no more; later posts run into their request timeout.
const CHECKS: usize = 8;

/// The longest path that the database keeps.
const LONGEST_PATH: usize = 4096;

/// Asks the library about every path before it is recorded.
#[derive(Clone)]
pub(crate) struct Door {
    library: Library,
    webhook_http: bool,
    checks: Arc<Semaphore>,
}

/// An entry that was not let in, as a bulk post is answered with it.
#[derive(Debug, Serialize)]
pub(crate) struct Refusal {
    /// The path as it was posted, if there was one.
    pub(crate) path: Option<String>,
    #[serde(rename = "error")]
    pub(crate) problem: Problem,
}

/// An entry that was let in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LetIn {
    pub(crate) path: String,
    /// Whom to tell when the work on it has ended.
    pub(crate) following: Following,
}

impl Door {
    pub(crate) fn new(library: Library, webhook_http: bool) -> Self {
        Self {
            library,
            webhook_http,
            checks: Arc::new(Semaphore::new(CHECKS)),
        }
    }

    /// What became of each entry, in order. What an entry does not say of whom to tell, the members `beside` it do.
    pub(crate) async fn check(
        &self,
        posted: Vec<Posted>,
        beside: Members,
    ) -> Result<Vec<Result<LetIn, Box<Refusal>>>, Problem> {
        let Ok(permit) = Arc::clone(&self.checks).acquire_owned().await else {
            unreachable!("this semaphore is never closed")
        };
        let (library, webhook_http) = (self.library.clone(), self.webhook_http);
        let checking = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let check = |entry| check(&library, webhook_http, entry, &beside);
            posted.into_iter().map(check).collect()
        });
        checking.await.map_err(|error| {
            tracing::error!(%error, "the check of a path failed");
            problems::internal()
        })
    }
}

fn check(
    library: &Library,
    webhook_http: bool,
    posted: Posted,
    beside: &Members,
) -> Result<LetIn, Box<Refusal>> {
    let missing = |detail| refuse(None, problems::path_missing(detail));
    let Posted::Object(members) = posted else {
        return missing("this is JSON, but no object");
    };
    let path = match members.path {
        Member::Text(path) if path.is_empty() => return missing("the path is empty"),
        Member::Text(path) => path,
        Member::Missing => return missing("the object has no member 'path'"),
        Member::Null | Member::NotText => return missing("the member 'path' is not a text"),
    };
    match library.check(&path) {
        Ok(()) if path.len() <= LONGEST_PATH => {}
        Ok(()) => {
            return refuse(Some(&path), problems::path_too_long(path.len(), LONGEST_PATH));
        }
        Err(error) => return refuse(Some(&path), problems::path_not_taken(&error)),
    }
    let email = either(&members.email, &beside.email).map_err(problems::email_refused);
    let webhook = either(&members.webhook, &beside.webhook).map_err(problems::webhook_refused);
    let following = match (email, webhook) {
        (Ok(email), Ok(webhook)) => Following::parse(email, webhook, webhook_http),
        (Err(problem), _) | (_, Err(problem)) => Err(problem),
    };
    match following {
        Ok(following) => Ok(LetIn { path, following }),
        Err(problem) => refuse(Some(&path), problem),
    }
}

/// What an entry says, or else what stands beside it.
fn either<'a>(own: &'a Member, beside: &'a Member) -> Result<Option<&'a str>, &'static str> {
    match if own.is_absent() { beside } else { own } {
        Member::Missing | Member::Null => Ok(None),
        Member::Text(text) => Ok(Some(text)),
        Member::NotText => Err("it is not a text"),
    }
}

fn refuse(path: Option<&str>, problem: Problem) -> Result<LetIn, Box<Refusal>> {
    Err(Box::new(Refusal {
        path: path.map(str::to_owned),
        problem,
    }))
}
