//! What an operator sees of notifications, and has sent again.

use crate::session::{reading, transaction};
use crate::{Channel, Error, NotificationState, Notifications};

/// How many notifications one page has.
const PAGE: u32 = 500;

/// Which notifications.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotificationQuery {
    /// In one of these states; in any where there is none.
    pub states: Vec<NotificationState>,
    /// Of this channel; of all where it is `None`.
    pub channel: Option<Channel>,
    /// Of this job.
    pub batch_id: Option<i64>,
}

/// A notification as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedNotification {
    /// What it is sent again by.
    pub id: i64,
    /// The job that it tells of.
    pub batch_id: i64,
    /// How.
    pub channel: Channel,
    /// Whom: an address or a URL.
    pub recipient: String,
    /// How far it is.
    pub state: NotificationState,
    /// Tries that ended without success.
    pub tries: u32,
    /// Why it failed or is tried again.
    pub reason: Option<String>,
    /// When its job was joined.
    pub created_at_ms: i64,
    /// When it was sent, or given up.
    pub ended_at_ms: Option<i64>,
    /// Whether its URL is called no more, until that is allowed again.
    pub disabled: bool,
}

/// What became of a wish to have a notification sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// It is to be sent, and a message of it lies in the outbox.
    Again,
    /// It is to be sent anyway: nothing was changed.
    Waits,
    /// Its URL is called no more, and that was not to be changed.
    Disabled,
    /// There is no such notification.
    Unknown,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    batch_id: i64,
    channel: String,
    recipient: String,
    state: i64,
    tries: i64,
    reason: Option<String>,
    created_at: i64,
    ended_at: Option<i64>,
    disabled: i64,
}

// === impl NotificationQuery ===

impl NotificationQuery {
    /// The states as one number, a bit each.
    fn states(&self) -> i64 {
        if self.states.is_empty() {
            return 0b111;
        }
        self.states
            .iter()
            .fold(0, |bits, state| bits | (1 << state.number()))
    }
}

// === impl Row ===

impl Row {
    fn listed(self) -> Result<ListedNotification, Error> {
        Ok(ListedNotification {
            id: self.id,
            batch_id: self.batch_id,
            channel: Channel::from_name(&self.channel)?,
            recipient: self.recipient,
            state: NotificationState::from_number(self.state)?,
            tries: u32::try_from(self.tries).unwrap_or(u32::MAX),
            reason: self.reason,
            created_at_ms: self.created_at,
            ended_at_ms: self.ended_at,
            disabled: self.disabled != 0,
        })
    }
}

// === impl Notifications ===

impl Notifications {
    /// The notifications that the query asks for, at most 500, the newest first, of those older than `before`; of all
    /// where that is `None`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn list(
        &self,
        query: &NotificationQuery,
        before: Option<i64>,
    ) -> Result<Vec<ListedNotification>, Error> {
        let rows: Vec<Row> = reading!(self.database, "list_notifications", |connection| {
            sqlx::query_as(
                "SELECT n.id, n.batch_id, n.channel, n.recipient, n.state, n.tries, n.reason, n.created_at, n.ended_at, \
                 (SELECT COUNT(*) FROM webhook_endpoints e WHERE e.url_hash = n.recipient_hash \
                 AND e.disabled_at IS NOT NULL) AS disabled FROM notifications n \
                 WHERE n.id < ? AND (1 << n.state) & ? <> 0 AND n.channel = COALESCE(?, n.channel) \
                 AND n.batch_id = COALESCE(?, n.batch_id) ORDER BY n.id DESC LIMIT ?",
            )
            .bind(before.unwrap_or(i64::MAX))
            .bind(query.states())
            .bind(query.channel.map(Channel::as_str))
            .bind(query.batch_id)
            .bind(i64::from(PAGE))
            .fetch_all(&mut *connection)
            .await?
        })?;
        rows.into_iter().map(Row::listed).collect()
    }

    /// Has a notification sent again that was sent or has failed, with the same key, and leaves a message of it in the
    /// outbox. `enable` lets its URL be called again where that had asked for no more calls.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn resend(&self, id: i64, enable: bool) -> Result<Resend, Error> {
        transaction!(self.database, "resend", |connection| {
            let found: Option<(i64, String, Vec<u8>)> = sqlx::query_as(concat!(
                "SELECT state, channel, recipient_hash FROM notifications WHERE id = ?",
                for_update!()
            ))
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?;
            match found {
                None => Resend::Unknown,
                Some((state, channel, hash)) => {
                    let disabled: Option<i64> = sqlx::query_scalar(
                        "SELECT 1 FROM webhook_endpoints WHERE url_hash = ? AND disabled_at IS NOT NULL",
                    )
                    .bind(&hash)
                    .fetch_optional(&mut *connection)
                    .await?;
                    if disabled.is_some() && enable {
                        sqlx::query("DELETE FROM webhook_endpoints WHERE url_hash = ?")
                            .bind(&hash)
                            .execute(&mut *connection)
                            .await?;
                    }
                    if disabled.is_some() && !enable {
                        Resend::Disabled
                    } else if state == NotificationState::Ready.number() {
                        Resend::Waits
                    } else {
                        sqlx::query(concat!(
                            "UPDATE notifications SET state = 0, tries = 0, claims = 0, token = NULL, \
                             sent_with = NULL, reason = NULL, ended_at = NULL, available_at = ",
                            now!(),
                            " WHERE id = ?"
                        ))
                        .bind(id)
                        .execute(&mut *connection)
                        .await?;
                        sqlx::query("INSERT INTO outbox (topic, subject) VALUES (?, ?)")
                            .bind(Channel::from_name(&channel)?.topic())
                            .bind(id)
                            .execute(&mut *connection)
                            .await?;
                        Resend::Again
                    }
                }
            }
        })
    }
}
