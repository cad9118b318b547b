//! Objects on their way into the store.

use std::time::Duration;

use crate::columns::millis;
use crate::session::{reading, transaction};
use crate::{Database, Error};

/// The longest key of an object, in bytes.
const LONGEST_KEY: usize = 512;

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

// === impl Uploads ===

impl Uploads {
    /// Writes down that an object is about to be uploaded under `key`, 1 to 512 bytes, which nothing else has.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key that does not fit, [`Error::Other`] for one that is there; [`Error::Unavailable`].
    pub async fn begin(&self, key: &str) -> Result<(), Error> {
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(Error::Invalid(format!(
                "an object's key has {} bytes, expected 1 to {LONGEST_KEY}",
                key.len()
            )));
        }
        transaction!(self.database, "begin_upload", |connection| {
            sqlx::query("INSERT INTO uploads (object_key) VALUES (?)")
                .bind(key)
                .execute(&mut *connection)
                .await?;
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
        })
    }
}
