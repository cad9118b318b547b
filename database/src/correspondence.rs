//! How much somebody was told, and how much is still to be told.

use std::time::Duration;

use crate::columns::{millis, span};
use crate::session::reading;
use crate::{Backlog, Channel, Error, NotificationClaim, Notifications};

/// How much a recipient was told of late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Correspondence {
    /// Messages that were sent within the window that was asked for.
    pub sent: u32,
    /// How long ago the first of them was sent.
    pub first_sent: Option<Duration>,
    /// Further notifications to the same recipient that are not sent yet.
    pub waiting: u32,
}

// === impl Notifications ===

impl Notifications {
    /// How much the recipient of `claim` was told within `window`, and how much they are still to be told. Messages
    /// that told of several jobs count as one.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn correspondence(
        &self,
        claim: &NotificationClaim,
        window: Duration,
    ) -> Result<Correspondence, Error> {
        let (sent, first_sent, waiting) = reading!(self.database, "correspondence", |connection| {
            let (sent, first_sent): (i64, Option<i64>) = sqlx::query_as(concat!(
                "SELECT COUNT(*), ",
                now!(),
                " - MIN(ended_at) FROM notifications WHERE recipient_hash = ? AND state = 1 AND ended_at > ",
                now!(),
                " - ? AND channel = ? AND sent_with IS NULL"
            ))
            .bind(&claim.recipient_hash)
            .bind(millis(window))
            .bind(claim.channel.as_str())
            .fetch_one(&mut *connection)
            .await?;
            let waiting: i64 = sqlx::query_scalar(
                "SELECT COUNT(*) FROM notifications WHERE recipient_hash = ? AND state = 0 AND channel = ? \
                 AND id <> ?",
            )
            .bind(&claim.recipient_hash)
            .bind(claim.channel.as_str())
            .bind(claim.id)
            .fetch_one(&mut *connection)
            .await?;
            (sent, first_sent, waiting)
        })?;
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        Ok(Correspondence {
            sent: count(sent),
            first_sent: first_sent.map(span),
            waiting: count(waiting),
        })
    }

    /// Counts the notifications that are not sent yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn backlog(&self, channel: Channel) -> Result<Backlog, Error> {
        let (ready, leased, waiting): (i64, i64, i64) =
            reading!(self.database, "notification_backlog", |connection| {
                sqlx::query_as(concat!(
                    "SELECT COUNT(CASE WHEN available_at <= ",
                    now!(),
                    " THEN 1 END), COUNT(CASE WHEN available_at > ",
                    now!(),
                    " AND token IS NOT NULL THEN 1 END), COUNT(CASE WHEN available_at > ",
                    now!(),
                    " AND token IS NULL THEN 1 END) FROM ",
                    notifications_by_due!(),
                    " WHERE channel = ? AND state = 0"
                ))
                .bind(channel.as_str())
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
