//! Taking work: a lease that belongs to the claim.

use std::fmt;
use std::time::Duration;

use crate::columns::{millis, span};
use crate::dialect::json_ids;
use crate::joining::{lock_image, settle};
use crate::session::transaction;
use crate::{Error, TaskKind, TaskState, Tasks};

/// How many claims of a task may come to no orderly end. The next one finds it failed.
pub const MAX_CLAIMS: u32 = 3;

pub(crate) const CRASHED: &str = "crashed the worker: three times the work on it never came to an end";

/// What tells one claim of a task from every other: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub(crate) [u8; 16]);

/// Work that was taken, until its lease ends. See [`Tasks`] for how it may end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The task.
    pub task_id: i64,
    /// Its image.
    pub image_id: i64,
    /// The batch that its image came in with.
    pub batch_id: Option<i64>,
    /// What is to be done.
    pub kind: TaskKind,
    /// The image's media URI.
    pub path: String,
    /// What the user called the file.
    pub name: Option<String>,
    /// What was asked for beyond the kind, as JSON.
    pub params: Option<String>,
    /// What every write about this claim carries.
    pub token: Token,
    /// Claims of this task that never came to an orderly end, this one included: 1 is the first.
    pub claims: u32,
    /// Tries of this task that ended without success before this one.
    pub tries: u32,
    /// How long the claim holds from the moment it was made or renewed.
    pub lease: Duration,
}

/// What became of the attempt to claim the work on one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// It is this worker's now.
    Claimed(Claim),
    /// Somebody works on it, or it waits for its next try or for a service.
    NotDue {
        /// How long until that ends, as it looks now.
        in_: Duration,
    },
    /// It is done or failed, perhaps just now, because its claims are used up.
    Ended,
    /// There is no such image.
    Unknown,
}

/// What [`Tasks::claim_due`] took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DueClaims {
    /// The work that is this worker's now.
    pub claims: Vec<Claim>,
    /// The images that are failed now because their claims were used up.
    pub crashed: Vec<i64>,
}

/// A task as a claim reads it, its row locked.
#[derive(sqlx::FromRow)]
pub(crate) struct Candidate {
    pub(crate) id: i64,
    pub(crate) image_id: i64,
    pub(crate) batch_id: Option<i64>,
    params: Option<String>,
    state: i64,
    not_due_for: i64,
    claims: i64,
    tries: i64,
}

/// Whether a task is its image's only one.
fn is_alone(batch_id: Option<i64>, kind: TaskKind) -> bool {
    batch_id.is_none() && kind == TaskKind::Identify
}

// === impl Token ===

impl Token {
    pub(crate) fn random() -> Token {
        Token(rand::random())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:032x})", u128::from_be_bytes(self.0))
    }
}

// === impl Claim ===

impl Claim {
    /// Whether this is its image's only task, as it is of all that are just posted.
    pub(crate) fn is_alone(&self) -> bool {
        is_alone(self.batch_id, self.kind)
    }
}

// === impl Candidate ===

impl Candidate {
    pub(crate) fn is_alone(&self, kind: TaskKind) -> bool {
        is_alone(self.batch_id, kind)
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.claims >= i64::from(MAX_CLAIMS)
    }

    pub(crate) fn into_claim(
        self,
        kind: TaskKind,
        (path, name): (String, Option<String>),
        token: Token,
        lease: Duration,
    ) -> Claim {
        Claim {
            task_id: self.id,
            image_id: self.image_id,
            batch_id: self.batch_id,
            kind,
            path,
            name,
            params: self.params,
            token,
            claims: u32::try_from(self.claims + 1).unwrap_or(u32::MAX),
            tries: u32::try_from(self.tries).unwrap_or(u32::MAX),
            lease,
        }
    }
}

// === the statements of a claim, for one or many, on either back end ===

/// The columns of [`Candidate`].
macro_rules! candidate_columns {
    () => {
        concat!(
            "id, image_id, batch_id, params, state, available_at - ",
            now!(),
            " AS not_due_for, claims, tries"
        )
    };
}

/// Claims the tasks of a JSON array: `task_ids`, `image_ids`. They are begun then: lane 2.
macro_rules! mark_claimed {
    ($connection:ident, $task_ids:expr, $image_ids:expr, $token:expr, $lease:expr) => {{
        sqlx::query(concat!(
            update_chosen!(),
            "tasks",
            set_chosen!(),
            "token = ?, claims = claims + 1, waiting_for = NULL, lane = 2, available_at = ",
            now!(),
            " + ?, started_at = COALESCE(started_at, ",
            now!(),
            ")",
            end_chosen!()
        ))
        .bind(&$task_ids)
        .bind($token.bytes())
        .bind($crate::columns::millis($lease))
        .execute(&mut *$connection)
        .await?;
        sqlx::query(concat!(
            update_chosen!(),
            "images",
            set_chosen!(),
            "status = 3, reason = NULL, updated_at = ",
            now!(),
            end_chosen!()
        ))
        .bind(&$image_ids)
        .execute(&mut *$connection)
        .await?;
    }};
}

/// Ends tasks that crashed their workers.
macro_rules! mark_crashed {
    ($connection:ident, $kind:expr, $tasks:expr) => {{
        let tasks: &[$crate::claim::Candidate] = $tasks;
        sqlx::query(concat!(
            update_chosen!(),
            "tasks",
            set_chosen!(),
            "state = 2, token = NULL, waiting_for = NULL, fault = 'crashed', reason = ?, ended_at = ",
            now!(),
            end_chosen!()
        ))
        .bind(json_ids(tasks.iter().map(|task| task.id)))
        .bind($crate::claim::CRASHED)
        .execute(&mut *$connection)
        .await?;
        let (alone, others): (Vec<_>, Vec<_>) = tasks.iter().partition(|task| task.is_alone($kind));
        if !alone.is_empty() {
            sqlx::query(concat!(
                update_chosen!(),
                "images",
                set_chosen!(),
                "status = 2, reason = ?, updated_at = ",
                now!(),
                end_chosen!()
            ))
            .bind(json_ids(alone.iter().map(|task| task.image_id)))
            .bind($crate::claim::CRASHED)
            .execute(&mut *$connection)
            .await?;
        }
        for task in others {
            lock_image!($connection, task.image_id);
            settle!($connection, task.image_id, task.batch_id);
        }
    }};
}

pub(crate) use {candidate_columns, mark_claimed, mark_crashed};

// === impl Tasks ===

impl Tasks {
    /// Claims the work that a message told of. `subject` is what such messages carry
    /// ([`TaskKind::is_told_by_image`]): the image's id or the task's. An image that another program wrote, without
    /// a task, is given one.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the claim may have been made and will then be due again after `lease`.
    pub async fn claim_subject(
        &self,
        subject: i64,
        kind: TaskKind,
        lease: Duration,
    ) -> Result<ClaimOutcome, Error> {
        let token = Token::random();
        let by_image = kind.is_told_by_image();
        transaction!(self.database, "claim_subject", |connection| {
            let find = if by_image {
                concat!(
                    "SELECT ",
                    candidate_columns!(),
                    " FROM tasks WHERE image_id = ? AND kind = ?",
                    for_update!()
                )
            } else {
                concat!(
                    "SELECT ",
                    candidate_columns!(),
                    " FROM tasks WHERE id = ? AND kind = ?",
                    for_update!()
                )
            };
            let mut candidate: Option<Candidate> = sqlx::query_as(find)
                .bind(subject)
                .bind(kind.as_str())
                .fetch_optional(&mut *connection)
                .await?;
            let image_id = candidate.as_ref().map(|task| task.image_id);
            let image: Option<(String, Option<String>, i64)> =
                sqlx::query_as("SELECT path, name, status FROM images WHERE id = ?")
                    .bind(image_id.or(by_image.then_some(subject)))
                    .fetch_optional(&mut *connection)
                    .await?;

            if let (None, Some((.., status))) = (&candidate, &image)
                && !crate::Status::from_number(*status)?.is_final()
            {
                sqlx::query(concat!(insert_ignore!(), "tasks (image_id, kind) VALUES (?, ?)"))
                    .bind(subject)
                    .bind(kind.as_str())
                    .execute(&mut *connection)
                    .await?;
                candidate = sqlx::query_as(find)
                    .bind(subject)
                    .bind(kind.as_str())
                    .fetch_optional(&mut *connection)
                    .await?;
            }

            match (candidate, image) {
                (_, None) => ClaimOutcome::Unknown,
                (None, Some(_)) => ClaimOutcome::Ended,
                (Some(task), _) if TaskState::from_number(task.state)? != TaskState::Ready => {
                    ClaimOutcome::Ended
                }
                (Some(task), _) if task.not_due_for > 0 => ClaimOutcome::NotDue {
                    in_: span(task.not_due_for),
                },
                (Some(task), _) if task.is_used_up() => {
                    mark_crashed!(connection, kind, &[task]);
                    ClaimOutcome::Ended
                }
                (Some(task), Some((path, name, _))) => {
                    let (task_ids, image_ids) = (json_ids([task.id]), json_ids([task.image_id]));
                    mark_claimed!(connection, task_ids, image_ids, token, lease);
                    ClaimOutcome::Claimed(task.into_claim(kind, (path, name), token, lease))
                }
            }
        })
    }

    /// Lets the lease run anew from now on, for as long as it was taken.
    ///
    /// # Errors
    /// [`Error::LostClaim`]: stop working. [`Error::Unavailable`]: the lease may run out; stop working when
    /// it does.
    pub async fn renew(&self, claim: &Claim) -> Result<(), Error> {
        transaction!(self.database, "renew", |connection| {
            let renewed = sqlx::query(concat!(
                "UPDATE tasks SET available_at = ",
                now!(),
                " + ? WHERE id = ? AND token = ? AND state = 0"
            ))
            .bind(millis(claim.lease))
            .bind(claim.task_id)
            .bind(claim.token.bytes())
            .execute(&mut *connection)
            .await?;
            if renewed.rows_affected() == 0 {
                return Err(Error::LostClaim);
            }
        })
    }
}
