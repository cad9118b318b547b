//! Accepting what somebody wants to be told of: a batch, its images, their tasks and messages in one transaction.

use std::collections::HashSet;

use crate::accept::{CHUNK, Recorded, answers, check, deleted_meanwhile, to_json};
use crate::columns::{LONGEST_NAME, cut};
use crate::dialect::json_ids;
use crate::session::{NewId as _, transaction};
use crate::turn::{json_turns, take_turns};
use crate::uploads::{check_idempotency_key, record_under, recorded_under};
use crate::{Accepted, Error, Images, NewImage, Status, TaskKind};

/// What the column for addresses of mail holds.
const LONGEST_EMAIL: usize = 320;
/// What the column for addresses of webhooks holds.
const LONGEST_WEBHOOK: usize = 2048;

/// Whom to tell when the work on all images of one call has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct NewBatch {
    /// Who sent it: senders are served in turn. `project:P`, `mail:ADDRESS` or `hook:HOST`; `None` is nobody in
    /// particular.
    pub sender: Option<String>,
    /// The address for a mail, at most 320 bytes.
    pub email: Option<String>,
    /// The URL to call, at most 2,048 bytes.
    pub webhook: Option<String>,
}

/// An object that was uploaded and is to be prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUpload {
    /// Its key in the store, as [`Uploads::begin`](crate::Uploads::begin) was given it.
    pub key: String,
    /// Its media URI, 1 to 4,096 bytes.
    pub path: String,
    /// What its sender called it, for people. Cut to 255 bytes.
    pub name: Option<String>,
    /// Its size.
    pub bytes: u64,
    /// The project it belongs to, at most 255 bytes.
    pub project: Option<String>,
    /// The time of the frame that was asked for, in milliseconds from the film's beginning.
    pub at_ms: Option<u64>,
    /// What its sender calls the upload, 1 to 255 bytes: under one key one upload is recorded.
    pub idempotency_key: Option<String>,
}

/// Finds the sender of a batch, or makes it.
macro_rules! sender_id {
    ($connection:ident, $sender:expr) => {
        match $sender {
            None => None,
            Some(name) => {
                let find = "SELECT id FROM senders WHERE name = ?";
                let found: Option<i64> = sqlx::query_scalar(find)
                    .bind(name)
                    .fetch_optional(&mut *$connection)
                    .await?;
                match found {
                    Some(id) => Some(id),
                    None => {
                        sqlx::query(concat!(insert_ignore!(), "senders (name) VALUES (?)"))
                            .bind(name)
                            .execute(&mut *$connection)
                            .await?;
                        // Another call may have been first; its row is committed by now.
                        let id: i64 = sqlx::query_scalar(find)
                            .bind(name)
                            .fetch_one(&mut *$connection)
                            .await?;
                        Some(id)
                    }
                }
            }
        }
    };
}

/// Opens a batch; [`seal!`] ends it.
macro_rules! open_batch {
    ($connection:ident, $batch:expr) => {
        sqlx::query("INSERT INTO batches (email, webhook) VALUES (?, ?)")
            .bind(&$batch.email)
            .bind(&$batch.webhook)
            .execute(&mut *$connection)
            .await?
            .new_id()
    };
}

/// No image is added to the batch any more.
macro_rules! seal {
    ($connection:ident, $batch_id:expr, $sender_id:expr) => {
        sqlx::query(concat!(
            "UPDATE batches SET sender_id = ?, sealed_at = ",
            now!(),
            " WHERE id = ?"
        ))
        .bind($sender_id)
        .bind($batch_id)
        .execute(&mut *$connection)
        .await?
    };
}

/// Nothing was written about any image of the batch, so there is no batch.
macro_rules! drop_batch {
    ($connection:ident, $batch_id:expr) => {
        sqlx::query("DELETE FROM batches WHERE id = ?")
            .bind($batch_id)
            .execute(&mut *$connection)
            .await?
    };
}

// === impl Images ===

impl Images {
    /// Records images as one batch, each with a task to prepare it and a message that carries the task's id, all in one
    /// transaction; sealing the batch is its last statement. A path that is there already, or stands twice in `images`,
    /// gives the record that exists and writes nothing; where all do, there is no batch. The answers are in the order
    /// of `images`.
    ///
    /// Can be repeated after any error: what an earlier try wrote is then a duplicate, and nobody is told twice.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty or too long path, project or address, before anything is written;
    /// [`Error::Unavailable`].
    pub async fn accept_batch(&self, batch: &NewBatch, images: &[NewImage]) -> Result<Vec<Accepted>, Error> {
        check_batch(batch)?;
        for image in images {
            check(image)?;
        }
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let chunks = images.chunks(CHUNK).map(to_json).collect::<Result<Vec<_>, _>>()?;
        let sender = batch.sender.as_deref().map(sender_name);
        // By this number the call knows its own rows from those that were there.
        let call: i64 = rand::random();

        let rows = transaction!(self.database, "accept_batch", |connection| {
            let batch_id = open_batch!(connection, batch);
            let mut rows: Vec<Recorded> = Vec::with_capacity(images.len());
            for given_json in &chunks {
                sqlx::query(concat!(
                    insert_ignore!(),
                    "images (path, project, accepted_in, batch_id) SELECT given.path, given.project, ?, ? FROM ",
                    given!(),
                    " ORDER BY given.position"
                ))
                .bind(call)
                .bind(batch_id)
                .bind(given_json)
                .execute(&mut *connection)
                .await?;

                let found: Vec<(i64, i64, Option<i64>)> = sqlx::query_as(concat!(
                    "SELECT images.id, images.status, images.accepted_in FROM ",
                    given!(),
                    then_join!(),
                    "images ON ",
                    same_path!(),
                    " ORDER BY given.position"
                ))
                .bind(given_json)
                .fetch_all(&mut *connection)
                .await?;
                rows.extend(found.into_iter().map(|(id, status, writer)| Recorded {
                    id,
                    status,
                    own: writer == Some(call),
                }));
            }
            if rows.len() != images.len() {
                return Err(deleted_meanwhile());
            }

            let mut seen = HashSet::new();
            let new = rows.iter().filter(|row| row.own && seen.insert(row.id));
            let new: Vec<i64> = new.map(|row| row.id).collect();
            if new.is_empty() {
                drop_batch!(connection, batch_id);
            } else {
                let sender_id = sender_id!(connection, sender.as_deref());
                let first = take_turns!(connection, TaskKind::Prepare, sender_id, new.len());
                let turns: Vec<(i64, i64)> = new.iter().copied().zip(first..).collect();
                for turns in turns.chunks(CHUNK) {
                    let ids = json_ids(turns.iter().map(|(id, _)| *id));
                    sqlx::query(concat!(
                        "INSERT INTO tasks (image_id, kind, batch_id, sender_id, turn) \
                         SELECT chosen_id, ?, ?, ?, chosen_turn FROM ",
                        chosen_turns!()
                    ))
                    .bind(TaskKind::Prepare.as_str())
                    .bind(batch_id)
                    .bind(sender_id)
                    .bind(json_turns(turns))
                    .execute(&mut *connection)
                    .await?;
                    sqlx::query(concat!(
                        "INSERT INTO outbox (topic, subject) SELECT ?, tasks.id FROM ",
                        chosen!(),
                        then_join!(),
                        "tasks ON tasks.image_id = chosen_id AND tasks.kind = ?"
                    ))
                    .bind(TaskKind::Prepare.topic())
                    .bind(&ids)
                    .bind(TaskKind::Prepare.as_str())
                    .execute(&mut *connection)
                    .await?;
                }
                seal!(connection, batch_id, sender_id);
            }
            rows
        })?;
        answers(images, rows)
    }

    /// Records an object that lies in the store, as a batch of its own, as [`Images::accept_batch`] does; in the same
    /// transaction the store's entry of [`Uploads`](crate::Uploads) goes.
    ///
    /// Can be repeated after any error: what an earlier try wrote is then a duplicate. So is what another upload wrote
    /// under the same key, and then the path that is answered is that upload's: the object of this one is not needed.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the upload was never begun, or was given up and forgotten: its object may be gone.
    /// [`Error::Invalid`] as for [`Images::accept_batch`]; [`Error::Unavailable`].
    pub async fn accept_upload(&self, batch: &NewBatch, upload: &NewUpload) -> Result<Accepted, Error> {
        check_batch(batch)?;
        let image = NewImage {
            path: upload.path.clone(),
            project: upload.project.clone(),
        };
        check(&image)?;
        let bytes = i64::try_from(upload.bytes)
            .map_err(|_| Error::Invalid("an upload's size is no number of bytes".to_owned()))?;
        let name = upload.name.as_deref().map(|name| cut(name, LONGEST_NAME));
        let params = upload.at_ms.map(|at_ms| format!("{{\"at_ms\":{at_ms}}}"));
        let sender = batch.sender.as_deref().map(sender_name);
        let given_json = to_json(std::slice::from_ref(&image))?;
        let idempotency_key = upload.idempotency_key.as_deref();
        if let Some(key) = idempotency_key {
            check_idempotency_key(key)?;
        }

        let (row, path) = transaction!(self.database, "accept_upload", |connection| {
            let earlier = match idempotency_key {
                Some(key) => recorded_under!(connection, key),
                None => None,
            };
            if let Some((id, status, path)) = earlier {
                (
                    Recorded {
                        id,
                        status,
                        own: false,
                    },
                    path,
                )
            } else {
                let batch_id = open_batch!(connection, batch);
                let inserted = sqlx::query(concat!(
                    insert_ignore!(),
                    "images (path, project, batch_id, name, bytes) VALUES (?, ?, ?, ?, ?)"
                ))
                .bind(&image.path)
                .bind(&image.project)
                .bind(batch_id)
                .bind(name)
                .bind(bytes)
                .execute(&mut *connection)
                .await?;
                if inserted.rows_affected() == 0 {
                    drop_batch!(connection, batch_id);
                    let found: Option<(i64, i64)> = sqlx::query_as(concat!(
                        "SELECT images.id, images.status FROM ",
                        given!(),
                        then_join!(),
                        "images ON ",
                        same_path!()
                    ))
                    .bind(&given_json)
                    .fetch_optional(&mut *connection)
                    .await?;
                    let (id, status) = found.ok_or_else(deleted_meanwhile)?;
                    (
                        Recorded {
                            id,
                            status,
                            own: false,
                        },
                        image.path.clone(),
                    )
                } else {
                    let id = inserted.new_id();
                    let begun = sqlx::query("DELETE FROM uploads WHERE object_key = ?")
                        .bind(&upload.key)
                        .execute(&mut *connection)
                        .await?;
                    if begun.rows_affected() == 0 {
                        return Err(Error::NotFound);
                    }
                    let sender_id = sender_id!(connection, sender.as_deref());
                    let turn = take_turns!(connection, TaskKind::Prepare, sender_id, 1_usize);
                    let task = sqlx::query(
                    "INSERT INTO tasks (image_id, kind, batch_id, sender_id, params, turn) VALUES (?, ?, ?, ?, ?, ?)",
                )
                .bind(id)
                .bind(TaskKind::Prepare.as_str())
                .bind(batch_id)
                .bind(sender_id)
                .bind(&params)
                .bind(turn)
                .execute(&mut *connection)
                .await?
                .new_id();
                    sqlx::query("INSERT INTO outbox (topic, subject) VALUES (?, ?)")
                        .bind(TaskKind::Prepare.topic())
                        .bind(task)
                        .execute(&mut *connection)
                        .await?;
                    seal!(connection, batch_id, sender_id);
                    if let Some(key) = idempotency_key
                        && !record_under!(connection, key, &upload.key, id)
                    {
                        return Err(recorded_meanwhile());
                    }
                    (
                        Recorded {
                            id,
                            status: Status::Pending.number(),
                            own: true,
                        },
                        image.path.clone(),
                    )
                }
            }
        })?;
        Ok(Accepted {
            id: row.id,
            path,
            status: Status::from_number(row.status)?,
            duplicate: !row.own,
        })
    }
}

/// Under the sender's key another upload was recorded in the same moment. The next try finds it.
fn recorded_meanwhile() -> Error {
    Error::unavailable("another upload was recorded under the same key meanwhile")
}

fn check_batch(batch: &NewBatch) -> Result<(), Error> {
    let longer = |text: &Option<String>, most| text.as_ref().is_some_and(|text| text.len() > most);
    if longer(&batch.email, LONGEST_EMAIL) {
        return Err(Error::Invalid(format!(
            "an address of mail is longer than {LONGEST_EMAIL} bytes"
        )));
    }
    if longer(&batch.webhook, LONGEST_WEBHOOK) {
        return Err(Error::Invalid(format!(
            "an address of a webhook is longer than {LONGEST_WEBHOOK} bytes"
        )));
    }
    Ok(())
}

/// A sender's name as its column holds it: of a long one the beginning, and its hash, so that two stay two.
fn sender_name(sender: &str) -> String {
    if sender.len() <= LONGEST_NAME {
        return sender.to_owned();
    }
    let hash = blake3::hash(sender.as_bytes()).to_hex();
    format!("{}#{hash}", cut(sender, LONGEST_NAME - hash.len() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_with_long_names_stay_apart() {
        let sender = |last: char| format!("project:{}{last}", "\u{e4}".repeat(150));
        let (one, other) = (sender_name(&sender('a')), sender_name(&sender('b')));
        assert!(
            one.len() <= LONGEST_NAME && one.starts_with("project:\u{e4}"),
            "{one}"
        );
        assert_ne!(one, other);
        assert_eq!(sender_name("mail:a@b.c"), "mail:a@b.c");
    }
}
