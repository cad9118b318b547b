//! How far a batch is, as people see it.

use crate::Error;

/// A batch as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRecord {
    /// Its id.
    pub id: i64,
    /// When it was accepted.
    pub created_at_ms: i64,
    /// When every task of it had ended.
    pub joined_at_ms: Option<i64>,
    /// Who is told of it, once it has joined.
    pub notifications: Vec<NotificationRecord>,
}

/// A notification as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationRecord {
    /// How it is sent: `mail` or `webhook`.
    pub channel: String,
    /// How far it is.
    pub state: NotificationState,
    /// Tries that ended without success.
    pub tries: u32,
    /// When it is tried next, or was.
    pub available_at_ms: i64,
    /// Why it failed or is tried again.
    pub reason: Option<String>,
    /// When it was sent, or given up.
    pub ended_at_ms: Option<i64>,
}

/// How far a notification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NotificationState {
    /// It is to be sent.
    Ready,
    /// Whoever takes it for the recipient has it.
    Sent,
    /// Given up; it has a reason.
    Failed,
}

#[derive(sqlx::FromRow)]
pub(crate) struct NotificationRow {
    channel: String,
    state: i64,
    tries: i64,
    available_at: i64,
    reason: Option<String>,
    ended_at: Option<i64>,
}

// === impl NotificationState ===

impl NotificationState {
    /// Its name in HTTP answers.
    pub fn as_str(self) -> &'static str {
        match self {
            NotificationState::Ready => "ready",
            NotificationState::Sent => "sent",
            NotificationState::Failed => "failed",
        }
    }

    pub(crate) fn number(self) -> i64 {
        match self {
            NotificationState::Ready => 0,
            NotificationState::Sent => 1,
            NotificationState::Failed => 2,
        }
    }

    pub(crate) fn from_number(number: i64) -> Result<Self, Error> {
        match number {
            0 => Ok(Self::Ready),
            1 => Ok(Self::Sent),
            2 => Ok(Self::Failed),
            _ => Err(Error::Other(
                format!("a notification has the unknown state {number}").into(),
            )),
        }
    }
}

// === impl NotificationRow ===

impl NotificationRow {
    pub(crate) fn into_record(self) -> Result<NotificationRecord, Error> {
        Ok(NotificationRecord {
            channel: self.channel,
            state: NotificationState::from_number(self.state)?,
            tries: u32::try_from(self.tries).unwrap_or(0),
            available_at_ms: self.available_at,
            reason: self.reason,
            ended_at_ms: self.ended_at,
        })
    }
}

/// Reads the batch with this id, which is there: an image names it.
macro_rules! batch_record {
    ($connection:ident, $id:expr) => {{
        let (created_at_ms, joined_at_ms): (i64, Option<i64>) =
            sqlx::query_as("SELECT created_at, joined_at FROM batches WHERE id = ?")
                .bind($id)
                .fetch_one(&mut *$connection)
                .await?;
        let notifications: Vec<$crate::batch_record::NotificationRow> = sqlx::query_as(
            "SELECT channel, state, tries, available_at, reason, ended_at FROM notifications \
             WHERE batch_id = ? ORDER BY id",
        )
        .bind($id)
        .fetch_all(&mut *$connection)
        .await?;
        let notifications = notifications
            .into_iter()
            .map($crate::batch_record::NotificationRow::into_record)
            .collect::<Result<Vec<_>, _>>()?;
        $crate::BatchRecord {
            id: $id,
            created_at_ms,
            joined_at_ms,
            notifications,
        }
    }};
}

pub(crate) use batch_record;
