//! The work on images.

use crate::session::reading;
use crate::{Database, Error, TaskKind, TaskState};

/// The work on images: claims ([`Tasks::claim_subject`], [`Tasks::claim_due`]) and how they end. Cheap to
/// clone.
///
/// A claim is a lease with a random token. Every later write about it carries the token and is refused once
/// another claim has been made. While the lease runs the task is due when the lease ends, so that a claim
/// whose worker died is found by the same look-up as any other work.
///
/// | end of a claim | claims | tries | waits | the task is |
/// | --- | --- | --- | --- | --- |
/// | [`Tasks::complete`] | | | | done |
/// | [`Tasks::fail`] | | | | failed |
/// | [`Tasks::retry`] | given back | + 1 | | due after the delay, or failed at the last try |
/// | [`Tasks::wait`] | given back | | + 1 | due after the delay |
/// | [`Tasks::interrupted`] | stays counted | | + 1 | due after the delay |
/// | [`Tasks::release`] | given back | | | due at once |
/// | none: the worker died | stays counted | | | due when the lease ends |
#[derive(Debug, Clone)]
pub struct Tasks {
    pub(crate) database: Database,
}

/// A task as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRecord {
    /// Its id.
    pub id: i64,
    /// What is to be done: the name of a [`TaskKind`], or of one that only a newer program knows.
    pub kind: String,
    /// How far it is.
    pub state: TaskState,
    /// Whether a worker has it.
    pub held: bool,
    /// When it is due, or was.
    pub available_at_ms: i64,
    /// Claims that never came to an orderly end.
    pub claims: u32,
    /// Tries that ended without success.
    pub tries: u32,
    /// How often it had to wait for a service.
    pub waits: u32,
    /// The service it waits for.
    pub waiting_for: Option<String>,
    /// Why it failed, waits, or is tried again.
    pub reason: Option<String>,
    /// The model that did it, and its version.
    pub model: Option<String>,
    /// See `model`.
    pub model_version: Option<String>,
    /// When the work that counts began.
    pub started_at_ms: Option<i64>,
    /// When it ended.
    pub ended_at_ms: Option<i64>,
}

/// How much work there is, for metrics. Counted, so not for every request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Due now, including claims whose lease has run out.
    pub ready: u64,
    /// Held by a worker.
    pub leased: u64,
    /// Due later: waiting for a service, or for the next try.
    pub waiting: u64,
}

// === impl Tasks ===

impl Tasks {
    /// Counts the unfinished tasks.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn backlog(&self, kind: TaskKind) -> Result<Backlog, Error> {
        let (ready, leased, waiting): (i64, i64, i64) = reading!(self.database, "backlog", |connection| {
            sqlx::query_as(concat!(
                "SELECT COUNT(CASE WHEN available_at <= ",
                now!(),
                " THEN 1 END), COUNT(CASE WHEN available_at > ",
                now!(),
                " AND token IS NOT NULL THEN 1 END), COUNT(CASE WHEN available_at > ",
                now!(),
                " AND token IS NULL THEN 1 END) FROM ",
                tasks_by_turn!(),
                " WHERE kind = ? AND state = 0"
            ))
            .bind(kind.as_str())
            .fetch_one(&mut *connection)
            .await?
        })?;
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(Backlog {
            ready: count(ready),
            leased: count(leased),
            waiting: count(waiting),
        })
    }
}
