//! What the end of a task means for its image and for its batch, within the transaction that ends it.
//!
//! A batch joins when it is sealed and no task of it is unfinished. That is asked, never counted, by whoever ends a
//! task that makes its image final, and again by [`Batches::sweep_joins`](crate::Batches::sweep_joins). The question
//! is asked under a lock on the batch's row: without it, two transactions that end the last two tasks at the same time
//! do not see each other's end, and nobody joins.
//!
//! Rows are locked in one order: task, image, batch, and what is inserted comes after that. A foreign key locks the row
//! that it names, so a row inserted before its image is locked is how two tasks of one image would block each other.

use crate::columns::{LONGEST_REASON, cut};
use crate::session::{reading, transaction};
use crate::{Database, Error, Status, TaskState};

/// Jobs that were given together, and whose end is told once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Batches {
    pub(crate) database: Database,
}

/// A task, as far as its image's status depends on it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Part {
    pub(crate) kind: String,
    pub(crate) state: i64,
    pub(crate) reason: Option<String>,
    /// 1 where a worker has it, else 0.
    pub(crate) held: i64,
}

/// Who is to be told of a batch, and whether it is open.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Open {
    pub(crate) email: Option<String>,
    pub(crate) webhook: Option<String>,
    pub(crate) round: i64,
    pub(crate) sealed_at: Option<i64>,
    pub(crate) joined_at: Option<i64>,
}

/// The status of an image with these tasks, and why it failed where it did.
pub(crate) fn status_of(parts: &[Part]) -> Result<(Status, Option<String>), Error> {
    let mut failed = Vec::new();
    let mut unfinished = false;
    for part in parts {
        match TaskState::from_number(part.state)? {
            TaskState::Ready => unfinished = true,
            TaskState::Failed => failed.push(part),
            TaskState::Done => {}
        }
    }
    if unfinished {
        let held = parts.iter().any(|part| part.held != 0);
        let status = if held { Status::Processing } else { Status::Pending };
        return Ok((status, None));
    }
    let reason = |part: &Part| {
        part.reason
            .clone()
            .unwrap_or_else(|| "no reason is known".to_owned())
    };
    let reason = match (&failed[..], parts.len()) {
        ([], _) => return Ok((Status::Processed, None)),
        ([only], 1) => reason(only),
        (_, all) => {
            let each: Vec<String> = failed
                .iter()
                .map(|part| format!("{}: {}", part.kind, reason(part)))
                .collect();
            let others = if failed.len() < all {
                "; the others are done"
            } else {
                ""
            };
            format!(
                "{} of {all} tasks failed: {}{others}",
                failed.len(),
                each.join("; ")
            )
        }
    };
    Ok((Status::Failed, Some(cut(&reason, LONGEST_REASON).to_owned())))
}

impl Open {
    pub(crate) fn may_join(&self) -> bool {
        self.sealed_at.is_some() && self.joined_at.is_none()
    }

    /// The channels that were asked for, with the topic that wakes them and whom they tell.
    pub(crate) fn channels(&self) -> impl Iterator<Item = (&'static str, &'static str, &str)> {
        let mail = self.email.as_deref().map(|to| ("mail", crate::TOPIC_MAIL, to));
        let hook = self
            .webhook
            .as_deref()
            .map(|to| ("webhook", crate::TOPIC_WEBHOOK, to));
        mail.into_iter().chain(hook)
    }
}

/// Locks an image's row, before anything is inserted that names it.
macro_rules! lock_image {
    ($connection:ident, $image_id:expr) => {{
        let _status: Option<i64> =
            sqlx::query_scalar(concat!("SELECT status FROM images WHERE id = ?", for_update!()))
                .bind($image_id)
                .fetch_optional(&mut *$connection)
                .await?;
    }};
}

/// Writes an image's status as its tasks have it, its row locked; where that made it final, joins its batch if it was the
/// last.
macro_rules! settle {
    ($connection:ident, $image_id:expr, $batch_id:expr) => {{
        let parts: Vec<$crate::joining::Part> = sqlx::query_as(concat!(
            "SELECT kind, state, reason, CASE WHEN state = 0 AND token IS NOT NULL AND available_at > ",
            now!(),
            " THEN 1 ELSE 0 END AS held FROM tasks WHERE image_id = ? ORDER BY id"
        ))
        .bind($image_id)
        .fetch_all(&mut *$connection)
        .await?;
        let (status, reason) = $crate::joining::status_of(&parts)?;
        let statement = if status.is_final() {
            concat!(
                "UPDATE images SET status = ?, reason = ?, duration_ms = (SELECT MAX(ended_at) - MIN(started_at) \
                 FROM tasks WHERE tasks.image_id = images.id), updated_at = ",
                now!(),
                " WHERE id = ?"
            )
        } else {
            concat!(
                "UPDATE images SET status = ?, reason = ?, updated_at = ",
                now!(),
                " WHERE id = ?"
            )
        };
        sqlx::query(statement)
            .bind(status.number())
            .bind(reason)
            .bind($image_id)
            .execute(&mut *$connection)
            .await?;
        if let (true, Some(batch_id)) = (status.is_final(), $batch_id) {
            let batch_id: i64 = batch_id;
            $crate::joining::join_if_last!($connection, batch_id);
        }
    }};
}

/// Joins a batch that is sealed and has no unfinished task, and leaves what tells of it. Evaluates to whether it did.
macro_rules! join_if_last {
    ($connection:ident, $batch_id:expr) => {{
        let open: Option<$crate::joining::Open> = sqlx::query_as(concat!(
            "SELECT email, webhook, round, sealed_at, joined_at FROM batches WHERE id = ?",
            for_update!()
        ))
        .bind($batch_id)
        .fetch_optional(&mut *$connection)
        .await?;
        let mut joined = false;
        if let Some(open) = open.filter($crate::joining::Open::may_join) {
            let unfinished: Option<i64> =
                sqlx::query_scalar("SELECT id FROM tasks WHERE batch_id = ? AND state = 0 LIMIT 1")
                    .bind($batch_id)
                    .fetch_optional(&mut *$connection)
                    .await?;
            if unfinished.is_none() {
                sqlx::query(concat!(
                    "UPDATE batches SET joined_at = ",
                    now!(),
                    " WHERE id = ? AND joined_at IS NULL"
                ))
                .bind($batch_id)
                .execute(&mut *$connection)
                .await?;
                for (channel, topic, recipient) in open.channels() {
                    let message_key: [u8; 16] = rand::random();
                    let told = sqlx::query(concat!(
                        insert_ignore!(),
                        "notifications (batch_id, round, channel, recipient, recipient_hash, message_key) \
                         VALUES (?, ?, ?, ?, ?, ?)"
                    ))
                    .bind($batch_id)
                    .bind(open.round)
                    .bind(channel)
                    .bind(recipient)
                    .bind(&blake3::hash(recipient.as_bytes()).as_bytes()[..])
                    .bind(&message_key[..])
                    .execute(&mut *$connection)
                    .await?;
                    if told.rows_affected() == 1 {
                        sqlx::query("INSERT INTO outbox (topic, subject) VALUES (?, ?)")
                            .bind(topic)
                            .bind($crate::session::NewId::new_id(&told))
                            .execute(&mut *$connection)
                            .await?;
                    }
                }
                joined = true;
            }
        }
        joined
    }};
}

pub(crate) use {join_if_last, lock_image, settle};

// === impl Batches ===

impl Batches {
    /// Joins batches whose tasks have all ended and that nobody has joined: the net below those who end tasks. Tells how
    /// many; at most `limit` in one call.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn sweep_joins(&self, limit: u32) -> Result<u32, Error> {
        // Unordered: it would be sorted.
        let ready: Vec<i64> = reading!(self.database, "find_joins", |connection| {
            sqlx::query_scalar(
                "SELECT id FROM batches WHERE joined_at IS NULL AND sealed_at IS NOT NULL AND NOT EXISTS \
                 (SELECT 1 FROM tasks WHERE tasks.batch_id = batches.id AND tasks.state = 0) LIMIT ?",
            )
            .bind(i64::from(limit))
            .fetch_all(&mut *connection)
            .await?
        })?;
        let mut joined = 0;
        for batch_id in ready {
            joined += u32::from(transaction!(self.database, "join", |connection| {
                join_if_last!(connection, batch_id)
            })?);
        }
        Ok(joined)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn part(kind: &str, state: i64, reason: Option<&str>, held: bool) -> Part {
        Part {
            kind: kind.to_owned(),
            state,
            reason: reason.map(str::to_owned),
            held: i64::from(held),
        }
    }

    fn status(parts: &[Part]) -> (Status, Option<String>) {
        status_of(parts).unwrap()
    }

    #[test]
    fn an_image_is_processing_while_any_task_of_it_is_held() {
        let parts = [
            part("prepare", 1, None, false),
            part("gif", 0, None, true),
            part("frame", 0, None, false),
        ];
        assert_eq!(status(&parts), (Status::Processing, None));
    }

    #[test]
    fn an_image_is_pending_while_some_task_waits_and_none_is_held() {
        let parts = [
            part("gif", 2, Some("bad"), false),
            part("frame", 0, Some("no circuit"), false),
        ];
        assert_eq!(status(&parts), (Status::Pending, None));
    }

    #[test]
    fn an_image_is_processed_when_all_its_tasks_are_done() {
        let parts = [part("prepare", 1, None, false), part("thumbnail", 1, None, false)];
        assert_eq!(status(&parts), (Status::Processed, None));
    }

    #[test]
    fn a_failed_image_says_which_of_its_tasks_failed_and_why() {
        let parts = [
            part("prepare", 1, None, false),
            part("frame", 1, None, false),
            part("gif", 2, Some("took longer than 60 s"), false),
        ];
        let reason = "1 of 3 tasks failed: gif: took longer than 60 s; the others are done";
        assert_eq!(status(&parts), (Status::Failed, Some(reason.to_owned())));
        let parts = [part("prepare", 2, Some("neither a picture nor a film"), false)];
        assert_eq!(
            status(&parts),
            (Status::Failed, Some("neither a picture nor a film".to_owned()))
        );
    }
}
