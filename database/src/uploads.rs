//! Objects on their way into the store.

use std::time::Duration;

use crate::columns::millis;
use crate::session::{reading, transaction};
use crate::{Accepted, Database, Error, Status};

/// The longest key of an object, in bytes.
const LONGEST_KEY: usize = 512;
/// The longest key that a sender gives, in bytes.
const LONGEST_IDEMPOTENCY_KEY: usize = 255;

/// The objects that are being uploaded and that no record names yet. Cheap to clone.
///
/// An upload is written down before its first byte reaches the store, and [`Images::accept_upload`] takes the entry away
/// in the transaction that records the object. So what is still here long after was given up, by a client that went
/// away or a process that was killed, and its object can be removed: no object stays that no record names.
///
/// [`Images::accept_upload`]: crate::Images::accept_upload
#[derive(Debug, Clone)]
pub struct Uploads {
    pub(crate) database: Database,
}

/// What there is under the key that a sender gave to an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnderKey {
    /// Nothing, or one that was given up: the upload may begin.
    Free,
    /// Another upload holds the key, and may yet be recorded.
    Held,
    /// This was recorded under it.
    Recorded(Accepted),
}

/// The record that a sender's key led to: its id, status and path. The key's row stays locked until the transaction ends.
macro_rules! recorded_under {
    ($connection:ident, $idempotency_key:expr) => {{
        let found: Option<(Option<i64>,)> = sqlx::query_as(concat!(
            "SELECT image_id FROM upload_keys WHERE idempotency_key = ?",
            for_update!()
        ))
        .bind($idempotency_key)
        .fetch_optional(&mut *$connection)
        .await?;
        let recorded: Option<(i64, i64, String)> = match found {
            Some((Some(image_id),)) => {
                sqlx::query_as("SELECT id, status, path FROM images WHERE id = ?")
                    .bind(image_id)
                    .fetch_optional(&mut *$connection)
                    .await?
            }
            _ => None,
        };
        recorded
    }};
}

/// Lets a sender's key lead to a record from now on. Evaluates to whether it does: it may lead to another one by now.
macro_rules! record_under {
    ($connection:ident, $idempotency_key:expr, $object_key:expr, $image_id:expr) => {{
        sqlx::query(concat!(
            insert_ignore!(),
            "upload_keys (idempotency_key, object_key, held_until) VALUES (?, ?, 0)"
        ))
        .bind($idempotency_key)
        .bind($object_key)
        .execute(&mut *$connection)
        .await?;
        let written =
            sqlx::query("UPDATE upload_keys SET image_id = ? WHERE idempotency_key = ? AND image_id IS NULL")
                .bind($image_id)
                .bind($idempotency_key)
                .execute(&mut *$connection)
                .await?;
        written.rows_affected() == 1
    }};
}

pub(crate) use {record_under, recorded_under};

// === impl Uploads ===

impl Uploads {
    /// Writes down that an object is about to be uploaded under `key`, 1 to 512 bytes, which nothing else has.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key that does not fit, [`Error::Other`] for one that is there; [`Error::Unavailable`].
    pub async fn begin(&self, key: &str) -> Result<(), Error> {
        check_key(key)?;
        transaction!(self.database, "begin_upload", |connection| {
            sqlx::query("INSERT INTO uploads (object_key) VALUES (?)")
                .bind(key)
                .execute(&mut *connection)
                .await?;
        })
    }

    /// As [`Uploads::begin`], where the sender gave the upload a key of its own, 1 to 255 bytes: nothing is written unless
    /// that is [`UnderKey::Free`], and then it is held for `hold`. A sender whose receiver died gets it back after that.
    ///
    /// # Errors
    /// As [`Uploads::begin`].
    pub async fn begin_under(
        &self,
        idempotency_key: &str,
        key: &str,
        hold: Duration,
    ) -> Result<UnderKey, Error> {
        check_key(key)?;
        check_idempotency_key(idempotency_key)?;
        transaction!(self.database, "begin_upload", |connection| {
            if let Some(recorded) = recorded_under!(connection, idempotency_key) {
                UnderKey::Recorded(accepted(recorded)?)
            } else {
                let new = sqlx::query(concat!(
                    insert_ignore!(),
                    "upload_keys (idempotency_key, object_key, held_until) VALUES (?, ?, ",
                    now!(),
                    " + ?)"
                ))
                .bind(idempotency_key)
                .bind(key)
                .bind(millis(hold))
                .execute(&mut *connection)
                .await?;
                let taken = if new.rows_affected() == 1 {
                    new
                } else {
                    sqlx::query(concat!(
                        "UPDATE upload_keys SET object_key = ?, held_until = ",
                        now!(),
                        " + ? WHERE idempotency_key = ? AND image_id IS NULL AND held_until <= ",
                        now!()
                    ))
                    .bind(key)
                    .bind(millis(hold))
                    .bind(idempotency_key)
                    .execute(&mut *connection)
                    .await?
                };
                if taken.rows_affected() == 1 {
                    sqlx::query("INSERT INTO uploads (object_key) VALUES (?)")
                        .bind(key)
                        .execute(&mut *connection)
                        .await?;
                    UnderKey::Free
                } else {
                    UnderKey::Held
                }
            }
        })
    }

    /// Goes on holding a sender's key for an upload that is under way. Where somebody else has it by now nothing changes.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn hold(&self, idempotency_key: &str, key: &str, hold: Duration) -> Result<(), Error> {
        transaction!(self.database, "hold_upload", |connection| {
            sqlx::query(concat!(
                "UPDATE upload_keys SET held_until = ",
                now!(),
                " + ? WHERE idempotency_key = ? AND object_key = ?"
            ))
            .bind(millis(hold))
            .bind(idempotency_key)
            .bind(key)
            .execute(&mut *connection)
            .await?;
        })
    }

    /// What there is under a sender's key now.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn under(&self, idempotency_key: &str) -> Result<UnderKey, Error> {
        reading!(self.database, "upload_under_key", |connection| {
            let recorded: Option<(i64, i64, String)> = sqlx::query_as(
                "SELECT images.id, images.status, images.path FROM upload_keys \
                 JOIN images ON images.id = upload_keys.image_id WHERE idempotency_key = ?",
            )
            .bind(idempotency_key)
            .fetch_optional(&mut *connection)
            .await?;
            let held: Option<(i64,)> = sqlx::query_as(concat!(
                "SELECT 1 FROM upload_keys WHERE idempotency_key = ? AND image_id IS NULL AND held_until > ",
                now!()
            ))
            .bind(idempotency_key)
            .fetch_optional(&mut *connection)
            .await?;
            match (recorded, held) {
                (Some(recorded), _) => UnderKey::Recorded(accepted(recorded)?),
                (None, Some(_)) => UnderKey::Held,
                (None, None) => UnderKey::Free,
            }
        })
    }

    /// Up to `limit` keys of uploads that were begun more than `older_than` ago and never recorded, the oldest first.
    /// Remove their objects, then [forget](Uploads::forget) them. `older_than` has to be more than an upload may take.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn abandoned(&self, older_than: Duration, limit: u32) -> Result<Vec<String>, Error> {
        reading!(self.database, "abandoned_uploads", |connection| {
            sqlx::query_scalar(concat!(
                "SELECT object_key FROM uploads WHERE created_at <= ",
                now!(),
                " - ? ORDER BY created_at LIMIT ?"
            ))
            .bind(millis(older_than))
            .bind(i64::from(limit))
            .fetch_all(&mut *connection)
            .await?
        })
    }

    /// Forgets an upload that was given up and whose object is gone. It cannot be recorded after that. One that is not
    /// there is passed over.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn forget(&self, key: &str) -> Result<(), Error> {
        transaction!(self.database, "forget_upload", |connection| {
            sqlx::query("DELETE FROM uploads WHERE object_key = ?")
                .bind(key)
                .execute(&mut *connection)
                .await?;
            sqlx::query("DELETE FROM upload_keys WHERE object_key = ? AND image_id IS NULL")
                .bind(key)
                .execute(&mut *connection)
                .await?;
        })
    }
}

/// A record that was there before.
fn accepted((id, status, path): (i64, i64, String)) -> Result<Accepted, Error> {
    Ok(Accepted {
        id,
        path,
        status: Status::from_number(status)?,
        duplicate: true,
    })
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(Error::Invalid(format!(
            "an object's key has {} bytes, expected 1 to {LONGEST_KEY}",
            key.len()
        )));
    }
    Ok(())
}

pub(crate) fn check_idempotency_key(key: &str) -> Result<(), Error> {
    if key.is_empty() || key.len() > LONGEST_IDEMPOTENCY_KEY {
        return Err(Error::Invalid(format!(
            "a sender's key has {} bytes, expected 1 to {LONGEST_IDEMPOTENCY_KEY}",
            key.len()
        )));
    }
    Ok(())
}
