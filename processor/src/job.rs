//! The kinds of work, and who does each.

use safelight_database::{Claim, NewOutput, Prepared, Recognition, TaskKind};
use tonic::Status;

use crate::recognition::RecognizerClient;
use crate::transforming::TransformerClient;

/// What is done about tasks of one kind. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Identify(RecognizerClient),
    Prepare(TransformerClient),
    Thumbnail(TransformerClient),
    Frame(TransformerClient),
    Gif(TransformerClient),
}

/// What came of a task that went well.
#[derive(Debug)]
pub(crate) enum Done {
    Recognized(Recognition),
    Prepared(Prepared),
    Made(Vec<NewOutput>),
}

// === impl Job ===

impl Job {
    pub(crate) fn kind(&self) -> TaskKind {
        match self {
            Self::Identify(_) => TaskKind::Identify,
            Self::Prepare(_) => TaskKind::Prepare,
            Self::Thumbnail(_) => TaskKind::Thumbnail,
            Self::Frame(_) => TaskKind::Frame,
            Self::Gif(_) => TaskKind::Gif,
        }
    }

    /// The service that waiting tasks are said to wait for.
    pub(crate) fn service(&self) -> &'static str {
        match self {
            Self::Identify(_) => "recognizer",
            _ => "transformer",
        }
    }

    /// Has the work done.
    ///
    /// # Errors
    /// The status of the call; [`judge`](crate::verdict::judge) says what it means. Cancel safe: a call that
    /// is dropped is cancelled at the service.
    pub(crate) async fn work(&self, claim: &Claim) -> Result<Done, Status> {
        match self {
            Self::Identify(recognizer) => recognizer.recognize(&claim.path).await.map(Done::Recognized),
            Self::Prepare(transformer) => transformer.prepare(claim).await.map(Done::Prepared),
            Self::Thumbnail(transformer) => transformer.thumbnails(claim).await.map(Done::Made),
            Self::Frame(transformer) => transformer.frame(claim).await.map(Done::Made),
            Self::Gif(transformer) => transformer.gif(claim).await.map(Done::Made),
        }
    }
}
