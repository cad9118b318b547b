//! The door: which paths are let in.

use std::sync::Arc;

use safelight_media::Library;
use safelight_service::Problem;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::posted::Posted;
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

impl Door {
    pub(crate) fn new(library: Library) -> Self {
        Self {
            library,
            checks: Arc::new(Semaphore::new(CHECKS)),
        }
    }

    /// What became of each entry, in order.
    pub(crate) async fn check(
        &self,
        posted: Vec<Posted>,
    ) -> Result<Vec<Result<String, Box<Refusal>>>, Problem> {
        let Ok(permit) = Arc::clone(&self.checks).acquire_owned().await else {
            unreachable!("this semaphore is never closed")
        };
        let library = self.library.clone();
        let checking = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            posted.into_iter().map(|entry| check(&library, entry)).collect()
        });
        checking.await.map_err(|error| {
            tracing::error!(%error, "the check of a path failed");
            problems::internal()
        })
    }
}

fn check(library: &Library, posted: Posted) -> Result<String, Box<Refusal>> {
    let missing = |detail| refuse(None, problems::path_missing(detail));
    let path = match posted {
        Posted::Path(path) if path.is_empty() => return missing("the path is empty"),
        Posted::Path(path) => path,
        Posted::NoPath => return missing("the object has no member 'path'"),
        Posted::PathNotText => return missing("the member 'path' is not a text"),
        Posted::NotAnObject => return missing("this is JSON, but no object"),
    };
    match library.check(&path) {
        Ok(()) if path.len() <= LONGEST_PATH => Ok(path),
        Ok(()) => refuse(Some(&path), problems::path_too_long(path.len(), LONGEST_PATH)),
        Err(error) => refuse(Some(&path), problems::path_not_taken(&error)),
    }
}

fn refuse(path: Option<&str>, problem: Problem) -> Result<String, Box<Refusal>> {
    Err(Box::new(Refusal {
        path: path.map(str::to_owned),
        problem,
    }))
}
