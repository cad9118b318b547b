//! Taking work: whose turn it is, and what has been due for long.

use std::collections::HashMap;
use std::time::Duration;

use crate::claim::{Candidate, candidate_columns, mark_claimed, mark_crashed};
use crate::columns::millis;
use crate::dialect::json_ids;
use crate::joining::{lock_image, settle};
use crate::session::{reading, transaction};
use crate::{ClaimOutcome, DueClaims, Error, TaskKind, Tasks, Token};

/// The most tasks that one call takes.
const MOST_CLAIMS_AT_ONCE: u32 = 1000;

// === the statements, on either back end ===

/// The tasks that nobody has begun, in turn. Those that are held belong to programs that know nothing of turns.
macro_rules! new_in_turn {
    ($connection:ident, $kind:expr, $limit:expr) => {{
        let new: Vec<Candidate> = sqlx::query_as(concat!(
            "SELECT ",
            candidate_columns!(),
            " FROM ",
            tasks_by_turn!(),
            " WHERE kind = ? AND state = 0 AND lane < 2 AND available_at <= ",
            now!(),
            " ORDER BY lane, turn, id LIMIT ?",
            skip_locked!()
        ))
        .bind($kind.as_str())
        .bind(i64::from($limit))
        .fetch_all(&mut *$connection)
        .await?;
        new
    }};
}

/// The tasks that were begun and are due again: put back, or their worker died. The longest due first.
///
/// Equality, range and order of one index: nothing is sorted, nothing is passed over, and what is leased lies behind the
/// end of the range.
macro_rules! begun_and_due {
    ($connection:ident, $kind:expr, $overdue_by:expr, $limit:expr) => {{
        let begun: Vec<Candidate> = sqlx::query_as(concat!(
            "SELECT ",
            candidate_columns!(),
            " FROM ",
            tasks_by_lane!(),
            " WHERE kind = ? AND state = 0 AND lane = 2 AND available_at <= ",
            now!(),
            " - ? ORDER BY available_at, id LIMIT ?",
            skip_locked!()
        ))
        .bind($kind.as_str())
        .bind(millis($overdue_by))
        .bind(i64::from($limit))
        .fetch_all(&mut *$connection)
        .await?;
        begun
    }};
}

/// Whether a task that nobody has begun has been due for so long that its message may be lost.
macro_rules! is_forgotten {
    ($connection:ident, $kind:expr, $lane:expr, $overdue_by:expr) => {{
        let forgotten: Option<i64> = sqlx::query_scalar(concat!(
            "SELECT id FROM ",
            tasks_by_lane!(),
            " WHERE kind = ? AND state = 0 AND lane = ? AND available_at <= ",
            now!(),
            " - ? LIMIT 1"
        ))
        .bind($kind.as_str())
        .bind($lane)
        .bind(millis($overdue_by))
        .fetch_optional(&mut *$connection)
        .await?;
        forgotten.is_some()
    }};
}

/// Claims `candidates`, and ends those that crashed their workers.
macro_rules! take {
    ($connection:ident, $kind:expr, $candidates:expr, $token:expr, $lease:expr) => {{
        let (used_up, due): (Vec<Candidate>, Vec<Candidate>) =
            $candidates.into_iter().partition(Candidate::is_used_up);
        let crashed: Vec<i64> = used_up.iter().map(|task| task.image_id).collect();
        if !used_up.is_empty() {
            mark_crashed!($connection, $kind, &used_up);
        }
        let mut claims = Vec::with_capacity(due.len());
        if !due.is_empty() {
            let task_ids = json_ids(due.iter().map(|task| task.id));
            let image_ids = json_ids(due.iter().map(|task| task.image_id));
            mark_claimed!($connection, task_ids, image_ids, $token, $lease);

            let named: Vec<(i64, String, Option<String>)> = sqlx::query_as(concat!(
                "SELECT images.id, images.path, images.name FROM ",
                chosen!(),
                then_join!(),
                "images ON images.id = chosen_id"
            ))
            .bind(&image_ids)
            .fetch_all(&mut *$connection)
            .await?;
            let named: HashMap<i64, (String, Option<String>)> = named
                .into_iter()
                .map(|(id, path, name)| (id, (path, name)))
                .collect();
            for task in due {
                // A task's image is there as long as the task: a foreign key says so.
                let image = named.get(&task.image_id).cloned().ok_or(Error::NotFound)?;
                claims.push(task.into_claim($kind, image, $token, $lease));
            }
        }
        DueClaims { claims, crashed }
    }};
}

// === impl Tasks ===

impl Tasks {
    /// Claims the task of this kind whose turn it is, for which a message came: any message is word that there is work, and
    /// which is done first is not the queue's to say. Senders take turns; what was begun and put back, or whose worker
    /// died, comes when nothing new waits; and `subject`, as [`Tasks::claim_subject`] has it, when nothing at all is due,
    /// and where it is an image of another program that has no task yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the claim may have been made and will then be due again after `lease`.
    pub async fn claim_next(
        &self,
        subject: i64,
        kind: TaskKind,
        lease: Duration,
    ) -> Result<ClaimOutcome, Error> {
        if kind.is_told_by_image() && !self.has_task(subject, kind).await? {
            return self.claim_subject(subject, kind, lease).await;
        }
        loop {
            let mut found = self.claim_one(kind, lease).await?;
            if let Some(claim) = found.claims.pop() {
                return Ok(ClaimOutcome::Claimed(claim));
            }
            if found.crashed.is_empty() {
                return self.claim_subject(subject, kind, lease).await;
            }
        }
    }

    async fn has_task(&self, image_id: i64, kind: TaskKind) -> Result<bool, Error> {
        let found: Option<i64> = reading!(self.database, "has_task", |connection| {
            sqlx::query_scalar("SELECT id FROM tasks WHERE image_id = ? AND kind = ?")
                .bind(image_id)
                .bind(kind.as_str())
                .fetch_optional(&mut *connection)
                .await?
        })?;
        Ok(found.is_some())
    }

    async fn claim_one(&self, kind: TaskKind, lease: Duration) -> Result<DueClaims, Error> {
        let token = Token::random();
        transaction!(self.database, "claim_next", |connection| {
            let mut found = new_in_turn!(connection, kind, 1_u32);
            if found.is_empty() {
                found = begun_and_due!(connection, kind, Duration::ZERO, 1_u32);
            }
            take!(connection, kind, found, token, lease)
        })
    }

    /// Claims up to `limit` tasks (at most 1,000) that no message brings: first what was begun and has been due again for
    /// `overdue_by` or longer, put back or left by a worker that died, the longest due first. Then, where something new
    /// has been due for that long, so that messages may be lost, what is new, in turn.
    ///
    /// Reads and locks the rows it takes and no others, and passes over those that others are taking, so
    /// any number of workers may call it at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: claims may have been made and will then be due again after `lease`.
    pub async fn claim_due(
        &self,
        kind: TaskKind,
        limit: u32,
        overdue_by: Duration,
        lease: Duration,
    ) -> Result<DueClaims, Error> {
        let token = Token::random();
        let limit = limit.min(MOST_CLAIMS_AT_ONCE);
        transaction!(self.database, "claim_due", |connection| {
            let mut found = begun_and_due!(connection, kind, overdue_by, limit);
            let room = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(limit));
            if room > 0
                && (is_forgotten!(connection, kind, 0, overdue_by)
                    || is_forgotten!(connection, kind, 1, overdue_by))
            {
                found.extend(new_in_turn!(connection, kind, room));
            }
            take!(connection, kind, found, token, lease)
        })
    }
}
