//! What people and programs are to be told: taking it up.

use std::time::Duration;

use crate::columns::{millis, span};
use crate::dialect::json_ids;
use crate::session::transaction;
use crate::{Database, Error, TOPIC_MAIL, TOPIC_WEBHOOK, Token};

/// The most notifications that one call takes.
const MOST_CLAIMS_AT_ONCE: u32 = 1000;

/// What people and programs are to be told of jobs: claims ([`Notifications::claim`], [`Notifications::claim_due`])
/// and how they end. Cheap to clone.
///
/// A notification is there from the moment its job was joined, and a claim is a lease with a random token, as for
/// [`Tasks`](crate::Tasks). Several mails to one recipient can be claimed together and told of in one message, so that
/// what ends a claim takes a list: the first of it is the one whose message goes out, and all have one token.
///
/// | end of a claim | claims | tries | the notification is |
/// | --- | --- | --- | --- |
/// | [`Notifications::sent`] | | | sent |
/// | [`Notifications::fail`] | | | failed |
/// | [`Notifications::retry`] | given back | + 1 | due after the delay |
/// | [`Notifications::wait`] | given back | | due after the delay |
/// | [`Notifications::postpone`] | given back | | due after the delay, without a reason |
/// | none: the worker died | stays counted | | due when the lease ends |
#[derive(Debug, Clone)]
pub struct Notifications {
    pub(crate) database: Database,
}

/// How somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// A mail to an address.
    Mail,
    /// A call of a URL.
    Webhook,
}

/// A notification that was taken, until its lease ends. See [`Notifications`] for how it may end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationClaim {
    /// The notification.
    pub id: i64,
    /// The job that is told of.
    pub batch_id: i64,
    /// How often the job had been joined before.
    pub round: u32,
    /// How.
    pub channel: Channel,
    /// Whom: an address or a URL.
    pub recipient: String,
    /// A hash of the recipient, the same for all notifications to them.
    pub recipient_hash: Vec<u8>,
    /// What tells this message from every other, the same at every try.
    pub message_key: [u8; 16],
    /// What every write about this claim carries.
    pub token: Token,
    /// Claims that never came to an orderly end, this one included: 1 is the first.
    pub claims: u32,
    /// Tries that ended without success before this one.
    pub tries: u32,
    /// How long the claim holds from the moment it was made or renewed.
    pub lease: Duration,
}

/// What became of the attempt to claim one notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotificationOutcome {
    /// It is this worker's now.
    Claimed(NotificationClaim),
    /// Somebody works on it, or it waits.
    NotDue {
        /// How long until that ends, as it looks now.
        in_: Duration,
    },
    /// It was sent, or failed.
    Ended,
    /// There is no such notification.
    Unknown,
}

/// The columns of a [`ClaimRow`].
macro_rules! columns {
    () => {
        concat!(
            "id, batch_id, round, channel, recipient, recipient_hash, message_key, state, available_at - ",
            now!(),
            " AS not_due_for, claims, tries"
        )
    };
}

/// Claims the notifications of a JSON array.
macro_rules! mark_claimed {
    ($connection:ident, $ids:expr, $token:expr, $lease:expr) => {
        sqlx::query(concat!(
            update_chosen!(),
            "notifications",
            set_chosen!(),
            "token = ?, claims = claims + 1, available_at = ",
            now!(),
            " + ?",
            end_chosen!()
        ))
        .bind(json_ids($ids))
        .bind($token.bytes())
        .bind(millis($lease))
        .execute(&mut *$connection)
        .await?
    };
}

/// A notification as a claim reads it, its row locked.
#[derive(sqlx::FromRow)]
struct ClaimRow {
    id: i64,
    batch_id: i64,
    round: i64,
    channel: String,
    recipient: String,
    recipient_hash: Vec<u8>,
    message_key: Vec<u8>,
    state: i64,
    not_due_for: i64,
    claims: i64,
    tries: i64,
}

// === impl Channel ===

impl Channel {
    /// Its name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Mail => "mail",
            Channel::Webhook => "webhook",
        }
    }

    /// The topic of the messages that tell of such notifications; they carry the notification's id.
    pub fn topic(self) -> &'static str {
        match self {
            Channel::Mail => TOPIC_MAIL,
            Channel::Webhook => TOPIC_WEBHOOK,
        }
    }

    pub(crate) fn from_name(name: &str) -> Result<Channel, Error> {
        match name {
            "mail" => Ok(Channel::Mail),
            "webhook" => Ok(Channel::Webhook),
            _ => Err(Error::Other(format!("there is no channel {name}").into())),
        }
    }
}

// === impl ClaimRow ===

impl ClaimRow {
    fn into_claim(self, token: Token, lease: Duration) -> Result<NotificationClaim, Error> {
        let count = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
        let key = |_| Error::Other("the key of a message is not 16 bytes long".into());
        Ok(NotificationClaim {
            id: self.id,
            batch_id: self.batch_id,
            round: count(self.round),
            channel: Channel::from_name(&self.channel)?,
            recipient: self.recipient,
            recipient_hash: self.recipient_hash,
            message_key: self.message_key.try_into().map_err(key)?,
            token,
            claims: count(self.claims + 1),
            tries: count(self.tries),
            lease,
        })
    }
}

// === impl Notifications ===

impl Notifications {
    /// Claims one notification, for which a message came.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the claim may have been made and will then be due again after `lease`.
    pub async fn claim(
        &self,
        id: i64,
        channel: Channel,
        lease: Duration,
    ) -> Result<NotificationOutcome, Error> {
        let token = Token::random();
        transaction!(self.database, "claim_notification", |connection| {
            let found: Option<ClaimRow> = sqlx::query_as(concat!(
                "SELECT ",
                columns!(),
                " FROM notifications WHERE id = ? AND channel = ?",
                for_update!()
            ))
            .bind(id)
            .bind(channel.as_str())
            .fetch_optional(&mut *connection)
            .await?;
            match found {
                None => NotificationOutcome::Unknown,
                Some(row) if row.state != 0 => NotificationOutcome::Ended,
                Some(row) if row.not_due_for > 0 => NotificationOutcome::NotDue {
                    in_: span(row.not_due_for),
                },
                Some(row) => {
                    mark_claimed!(connection, [row.id], token, lease);
                    NotificationOutcome::Claimed(row.into_claim(token, lease)?)
                }
            }
        })
    }

    /// Claims up to `limit` notifications (at most 1,000) that have been due for `overdue_by` or longer, the longest
    /// due first: the sweep for those whose message was lost, whose worker died, or whose wait is over. Any number of
    /// workers may call it at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: claims may have been made and will then be due again after `lease`.
    pub async fn claim_due(
        &self,
        channel: Channel,
        limit: u32,
        overdue_by: Duration,
        lease: Duration,
    ) -> Result<Vec<NotificationClaim>, Error> {
        transaction!(self.database, "claim_due_notifications", |connection| {
            let rows: Vec<ClaimRow> = sqlx::query_as(concat!(
                "SELECT ",
                columns!(),
                " FROM ",
                notifications_by_due!(),
                " WHERE channel = ? AND state = 0 AND available_at <= ",
                now!(),
                " - ? ORDER BY available_at, id LIMIT ?",
                skip_locked!()
            ))
            .bind(channel.as_str())
            .bind(millis(overdue_by))
            .bind(i64::from(limit.min(MOST_CLAIMS_AT_ONCE)))
            .fetch_all(&mut *connection)
            .await?;
            let mut claims = Vec::with_capacity(rows.len());
            for row in rows {
                // A token each: they end one by one.
                let token = Token::random();
                mark_claimed!(connection, [row.id], token, lease);
                claims.push(row.into_claim(token, lease)?);
            }
            claims
        })
    }

    /// Claims, under the same token, up to `limit` further notifications to the recipient of `claim` that nobody
    /// holds, due or not: they are to be told of in one message. Gives all of them, `claim` among them, the oldest
    /// first.
    ///
    /// # Errors
    /// [`Error::LostClaim`]: nothing was claimed. [`Error::Unavailable`]: claims may have been made and will then be
    /// due again after the lease.
    pub async fn claim_of_recipient(
        &self,
        claim: &NotificationClaim,
        limit: u32,
    ) -> Result<Vec<NotificationClaim>, Error> {
        let (token, lease) = (claim.token, claim.lease);
        transaction!(self.database, "claim_notifications_of_recipient", |connection| {
            let renewed = sqlx::query(concat!(
                "UPDATE notifications SET available_at = ",
                now!(),
                " + ? WHERE id = ? AND token = ? AND state = 0"
            ))
            .bind(millis(lease))
            .bind(claim.id)
            .bind(token.bytes())
            .execute(&mut *connection)
            .await?;
            if renewed.rows_affected() == 0 {
                return Err(Error::LostClaim);
            }
            let rows: Vec<ClaimRow> = sqlx::query_as(concat!(
                "SELECT ",
                columns!(),
                " FROM ",
                notifications_by_recipient!(),
                " WHERE recipient_hash = ? AND state = 0 AND ended_at IS NULL AND channel = ? AND id <> ? \
                 AND (token IS NULL OR available_at <= ",
                now!(),
                ") ORDER BY id LIMIT ?",
                skip_locked!()
            ))
            .bind(&claim.recipient_hash)
            .bind(claim.channel.as_str())
            .bind(claim.id)
            .bind(i64::from(limit.min(MOST_CLAIMS_AT_ONCE)))
            .fetch_all(&mut *connection)
            .await?;
            mark_claimed!(connection, rows.iter().map(|row| row.id), token, lease);
            let mut claims = vec![claim.clone()];
            for row in rows {
                claims.push(row.into_claim(token, lease)?);
            }
            claims.sort_by_key(|claim| claim.id);
            claims
        })
    }

    /// Lets the leases of claims with one token run anew from now on, for as long as they were taken.
    ///
    /// # Errors
    /// [`Error::LostClaim`]: stop working. [`Error::Unavailable`]: the lease may run out; stop working when it does.
    pub async fn renew(&self, claims: &[NotificationClaim]) -> Result<(), Error> {
        let Some(first) = claims.first() else {
            return Ok(());
        };
        transaction!(self.database, "renew_notifications", |connection| {
            let renewed = sqlx::query(concat!(
                update_chosen!(),
                "notifications",
                set_chosen!(),
                "available_at = ",
                now!(),
                " + ?",
                where_chosen!(),
                "token = ? AND state = 0"
            ))
            .bind(json_ids(claims.iter().map(|claim| claim.id)))
            .bind(millis(first.lease))
            .bind(first.token.bytes())
            .execute(&mut *connection)
            .await?;
            if renewed.rows_affected() != claims.len() as u64 {
                return Err(Error::LostClaim);
            }
        })
    }
}
