//! How a claim of notifications ends. Every write here carries the claims' token.

use std::time::Duration;

use crate::columns::{LONGEST_REASON, cut, millis};
use crate::dialect::json_ids;
use crate::session::transaction;
use crate::{Error, NotificationClaim, Notifications};

/// What is written where an address asked not to be called again.
const CLOSED: &str = "the address asked not to be called again";

/// Writes to those of the claimed notifications that are still claimed under their token, with the parameters of
/// `$set` in order. Gives how many those were.
macro_rules! update_claimed {
    ($connection:ident, $claims:expr, $token:expr, $set:expr $(, $parameter:expr)*) => {
        sqlx::query(concat!(
            update_chosen!(),
            "notifications",
            set_chosen!(),
            $set,
            where_chosen!(),
            "token = ? AND state = 0"
        ))
        .bind(json_ids($claims.iter().map(|claim| claim.id)))
        $(.bind($parameter))*
        .bind($token.bytes())
        .execute(&mut *$connection)
        .await?
        .rows_affected()
    };
}

/// Ends the operation where the first claim is not this worker's: well, if it has ended in `$state` under this very
/// token, because then an earlier call did it and only its answer was lost.
macro_rules! not_claimed {
    ($connection:ident, $first:expr, $state:literal) => {{
        let ended: Option<i64> = sqlx::query_scalar(concat!(
            "SELECT id FROM notifications WHERE id = ? AND token = ? AND state = ",
            $state
        ))
        .bind($first.id)
        .bind($first.token.bytes())
        .fetch_optional(&mut *$connection)
        .await?;
        return ended.map(drop).ok_or(Error::LostClaim);
    }};
}

// === impl Notifications ===

impl Notifications {
    /// The message went out, and told of all of these.
    ///
    /// Can be repeated after [`Error::Unavailable`].
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written, and the message may go out again. [`Error::Unavailable`].
    pub async fn sent(&self, claims: &[NotificationClaim]) -> Result<(), Error> {
        let Some(first) = claims.first() else {
            return Ok(());
        };
        transaction!(self.database, "sent", |connection| {
            let mine = update_claimed!(
                connection,
                claims,
                first.token,
                concat!(
                    "state = 1, reason = NULL, sent_with = NULLIF(?, id), ended_at = ",
                    now!()
                ),
                first.id
            );
            if mine == 0 {
                not_claimed!(connection, first, "1");
            }
        })
    }

    /// Trying again will not help: failed, with a reason that a person can read (cut at 1,024 bytes).
    ///
    /// Can be repeated after [`Error::Unavailable`].
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written. [`Error::Unavailable`].
    pub async fn fail(&self, claims: &[NotificationClaim], reason: &str) -> Result<(), Error> {
        let Some(first) = claims.first() else {
            return Ok(());
        };
        let reason = cut(reason, LONGEST_REASON);
        transaction!(self.database, "fail_notifications", |connection| {
            let mine = update_claimed!(
                connection,
                claims,
                first.token,
                concat!("state = 2, reason = ?, ended_at = ", now!()),
                reason
            );
            if mine == 0 {
                not_claimed!(connection, first, "2");
            }
        })
    }

    /// The try ended without success: due again after `delay`.
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written. [`Error::Unavailable`].
    pub async fn retry(&self, claims: &[NotificationClaim], delay: Duration, why: &str) -> Result<(), Error> {
        self.put_off(claims, 1, delay, Some(why)).await
    }

    /// What the message goes through is away or wrongly set up: due again after `delay`. No try is used, and the claim
    /// is given back.
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written. [`Error::Unavailable`].
    pub async fn wait(&self, claims: &[NotificationClaim], delay: Duration, why: &str) -> Result<(), Error> {
        self.put_off(claims, 0, delay, Some(why)).await
    }

    /// Nothing is wrong, only not now: due again after `delay`, at once where that is zero. Nothing is counted.
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written. [`Error::Unavailable`].
    pub async fn postpone(&self, claims: &[NotificationClaim], delay: Duration) -> Result<(), Error> {
        self.put_off(claims, 0, delay, None).await
    }

    async fn put_off(
        &self,
        claims: &[NotificationClaim],
        tries: i64,
        delay: Duration,
        why: Option<&str>,
    ) -> Result<(), Error> {
        let Some(first) = claims.first() else {
            return Ok(());
        };
        let why = why.map(|why| cut(why, LONGEST_REASON));
        transaction!(self.database, "put_off_notifications", |connection| {
            let mine = update_claimed!(
                connection,
                claims,
                first.token,
                concat!(
                    "token = NULL, claims = claims - 1, tries = tries + ?, reason = COALESCE(?, reason), \
                     available_at = ",
                    now!(),
                    " + ?"
                ),
                tries,
                why,
                millis(delay)
            );
            if mine == 0 {
                return Err(Error::LostClaim);
            }
        })
    }

    /// Calls the URL of `claim` no more: this and all other notifications that wait for it are failed, and
    /// [`Notifications::disabled`] says why from now on.
    ///
    /// Can be repeated.
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was written. [`Error::Unavailable`].
    pub async fn disable(&self, claim: &NotificationClaim) -> Result<(), Error> {
        transaction!(self.database, "disable_endpoint", |connection| {
            let held: Option<i64> = sqlx::query_scalar(concat!(
                "SELECT id FROM notifications WHERE id = ? AND token = ? AND state IN (0, 2)",
                for_update!()
            ))
            .bind(claim.id)
            .bind(claim.token.bytes())
            .fetch_optional(&mut *connection)
            .await?;
            held.ok_or(Error::LostClaim)?;
            sqlx::query(concat!(
                insert_ignore!(),
                "webhook_endpoints (url_hash, url, disabled_at, reason) VALUES (?, ?, ",
                now!(),
                ", ?)"
            ))
            .bind(&claim.recipient_hash)
            .bind(&claim.recipient)
            .bind(CLOSED)
            .execute(&mut *connection)
            .await?;
            sqlx::query(concat!(
                "UPDATE notifications SET state = 2, reason = ?, ended_at = ",
                now!(),
                " WHERE recipient_hash = ? AND state = 0 AND channel = ?"
            ))
            .bind(CLOSED)
            .bind(&claim.recipient_hash)
            .bind(claim.channel.as_str())
            .execute(&mut *connection)
            .await?;
        })
    }

    /// Why the URL of `claim` is not called any more; `None` where it may be.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn disabled(&self, claim: &NotificationClaim) -> Result<Option<String>, Error> {
        crate::session::reading!(self.database, "disabled_endpoint", |connection| {
            sqlx::query_scalar(
                "SELECT COALESCE(reason, 'closed by the operator') FROM webhook_endpoints \
                 WHERE url_hash = ? AND disabled_at IS NOT NULL",
            )
            .bind(&claim.recipient_hash)
            .fetch_optional(&mut *connection)
            .await?
        })
    }
}
