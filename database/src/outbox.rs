//! Messages that are still to be published.

use std::time::Duration;

use crate::columns::millis;
use crate::dialect::json_ids;
use crate::session::{reading, transaction};
use crate::{Database, Error};

/// The messages that were committed with the records they are about and are still to be published. Cheap to
/// clone.
///
/// A relay claims a batch, publishes it, and marks it published. Where it dies in between, the batch is due
/// again when its lease ends, and its messages go out twice: they only wake somebody up.
#[derive(Debug, Clone)]
pub struct Outbox {
    pub(crate) database: Database,
}

/// A message to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// What it is marked published by.
    pub id: i64,
    /// Where to.
    pub topic: String,
    /// What: the id of the record it is about, 8 bytes, little-endian.
    pub body: Vec<u8>,
}

// === impl Outbox ===

impl Outbox {
    /// Takes up to `limit` messages (at most 10,000), the oldest first, that nobody else takes before
    /// `lease` ends. Several relays share the work.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: messages may have been taken and will then be due after `lease`.
    pub async fn claim(&self, limit: u32, lease: Duration) -> Result<Vec<OutboxEntry>, Error> {
        let rows: Vec<(i64, String, i64)> = transaction!(self.database, "claim_outbox", |connection| {
            let rows: Vec<(i64, String, i64)> = sqlx::query_as(concat!(
                "SELECT id, topic, subject FROM ",
                outbox_by_due!(),
                " WHERE available_at <= ",
                now!(),
                " ORDER BY available_at, id LIMIT ?",
                skip_locked!()
            ))
            .bind(i64::from(limit.min(10_000)))
            .fetch_all(&mut *connection)
            .await?;
            if !rows.is_empty() {
                sqlx::query(concat!(
                    update_chosen!(),
                    "outbox",
                    set_chosen!(),
                    "available_at = ",
                    now!(),
                    " + ?",
                    end_chosen!()
                ))
                .bind(json_ids(rows.iter().map(|(id, ..)| *id)))
                .bind(millis(lease))
                .execute(&mut *connection)
                .await?;
            }
            rows
        })?;
        let entry = |(id, topic, subject): (i64, String, i64)| OutboxEntry {
            id,
            topic,
            body: subject.to_le_bytes().to_vec(),
        };
        Ok(rows.into_iter().map(entry).collect())
    }

    /// Removes messages that were published. Ids that are gone already are passed over.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: they may be published again.
    pub async fn mark_published(&self, ids: &[i64]) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        // In one order, so that relays which share messages after a lease ran out do not block each other.
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        transaction!(self.database, "mark_published", |connection| {
            sqlx::query(delete_from_outbox!())
                .bind(json_ids(ids.iter().copied()))
                .execute(&mut *connection)
                .await?;
        })
    }

    /// How many messages are still to be published, claimed or not. Counted.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn pending(&self) -> Result<u64, Error> {
        let pending: i64 = reading!(self.database, "outbox_pending", |connection| {
            sqlx::query_scalar("SELECT COUNT(*) FROM outbox")
                .fetch_one(&mut *connection)
                .await?
        })?;
        Ok(u64::try_from(pending).unwrap_or(0))
    }
}
