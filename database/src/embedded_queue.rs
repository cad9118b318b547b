//! The queue of the embedded set-up: a table in the SQLite file.

use std::time::{Duration, Instant};

use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, SqliteConnection};

use crate::Error;
use crate::claim::Token;
use crate::columns::{millis, span};
use crate::session::{BeginWrite as _, Session, bounded, record};

crate::dialect::sqlite!();

/// A queue in the SQLite file that holds the records: at least once, with leases, requeue and delay.
///
/// A topic has one channel, and everyone who takes from it shares the work: the embedded set-up has one kind
/// of consumer a topic, so the channel's name is accepted and means nothing. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EmbeddedQueue {
    writer: SqlitePool,
    readers: SqlitePool,
    operation_timeout: Duration,
}

/// A message that was taken, until its lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddedMessage {
    /// Its id.
    pub id: i64,
    /// What was pushed.
    pub body: Vec<u8>,
    /// How often it was taken, this time included.
    pub attempts: u32,
    /// What later calls about it carry.
    pub token: Token,
}

// === impl EmbeddedQueue ===

impl EmbeddedQueue {
    pub(crate) fn new(writer: SqlitePool, readers: SqlitePool, operation_timeout: Duration) -> EmbeddedQueue {
        EmbeddedQueue {
            writer,
            readers,
            operation_timeout,
        }
    }

    /// Adds messages, all or none, due at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn push(&self, topic: &str, bodies: &[Vec<u8>]) -> Result<(), Error> {
        self.write("queue_push", async |connection| {
            for body in bodies {
                sqlx::query("INSERT INTO queue_messages (topic, body) VALUES (?, ?)")
                    .bind(topic)
                    .bind(&body[..])
                    .execute(&mut *connection)
                    .await?;
            }
            Ok(())
        })
        .await
    }

    /// Takes up to `limit` messages, the longest due first, that nobody else takes before `lease` ends.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn take(
        &self,
        topic: &str,
        _channel: &str,
        limit: u32,
        lease: Duration,
    ) -> Result<Vec<EmbeddedMessage>, Error> {
        let token = Token::random();
        self.write("queue_take", async |connection| {
            let due: Vec<(i64, Vec<u8>, i64)> = sqlx::query_as(concat!(
                "SELECT id, body, attempts FROM queue_messages INDEXED BY queue_messages_due \
                 WHERE topic = ? AND available_at <= ",
                now!(),
                " ORDER BY available_at, id LIMIT ?"
            ))
            .bind(topic)
            .bind(i64::from(limit))
            .fetch_all(&mut *connection)
            .await?;
            let mut taken = Vec::with_capacity(due.len());
            for (id, body, attempts) in due {
                sqlx::query(concat!(
                    "UPDATE queue_messages SET token = ?, attempts = attempts + 1, available_at = ",
                    now!(),
                    " + ? WHERE id = ?"
                ))
                .bind(token.bytes())
                .bind(millis(lease))
                .bind(id)
                .execute(&mut *connection)
                .await?;
                let attempts = u32::try_from(attempts + 1).unwrap_or(u32::MAX);
                taken.push(EmbeddedMessage {
                    id,
                    body,
                    attempts,
                    token,
                });
            }
            Ok(taken)
        })
        .await
    }

    /// The message is done with, and removed.
    ///
    /// # Errors
    /// [`Error::LostClaim`] where its lease ran out and it was taken again, or it is gone;
    /// [`Error::Unavailable`].
    pub async fn finish(&self, id: i64, token: Token) -> Result<(), Error> {
        self.write("queue_finish", async |connection| {
            let finished = sqlx::query("DELETE FROM queue_messages WHERE id = ? AND token = ?")
                .bind(id)
                .bind(token.bytes())
                .execute(&mut *connection)
                .await?;
            still_taken(finished.rows_affected())
        })
        .await
    }

    /// Gives the message back, due after `delay`.
    ///
    /// # Errors
    /// As [`EmbeddedQueue::finish`].
    pub async fn requeue(&self, id: i64, token: Token, delay: Duration) -> Result<(), Error> {
        self.write("queue_requeue", async |connection| {
            let requeued = sqlx::query(concat!(
                "UPDATE queue_messages SET token = NULL, available_at = ",
                now!(),
                " + ? WHERE id = ? AND token = ?"
            ))
            .bind(millis(delay))
            .bind(id)
            .bind(token.bytes())
            .execute(&mut *connection)
            .await?;
            still_taken(requeued.rows_affected())
        })
        .await
    }

    /// Lets the lease run anew from now on.
    ///
    /// # Errors
    /// As [`EmbeddedQueue::finish`].
    pub async fn touch(&self, id: i64, token: Token, lease: Duration) -> Result<(), Error> {
        self.write("queue_touch", async |connection| {
            let touched = sqlx::query(concat!(
                "UPDATE queue_messages SET available_at = ",
                now!(),
                " + ? WHERE id = ? AND token = ?"
            ))
            .bind(millis(lease))
            .bind(id)
            .bind(token.bytes())
            .execute(&mut *connection)
            .await?;
            still_taken(touched.rows_affected())
        })
        .await
    }

    /// How long until the next message is due, by itself or because its lease ends; zero where one is due
    /// now, `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn next_due(&self, topic: &str) -> Result<Option<Duration>, Error> {
        let started = Instant::now();
        let mut session = Session::open(&self.readers).await?;
        let outcome = bounded(self.operation_timeout, async {
            let wait: Option<i64> = sqlx::query_scalar(concat!(
                "SELECT available_at - ",
                now!(),
                " FROM queue_messages INDEXED BY queue_messages_due WHERE topic = ? \
                 ORDER BY available_at, id LIMIT 1"
            ))
            .bind(topic)
            .fetch_optional(&mut *session)
            .await?;
            Ok(wait.map(span))
        })
        .await;
        session.end(&outcome);
        record("queue_next_due", started, &outcome);
        outcome
    }

    async fn write<T>(
        &self,
        operation: &'static str,
        body: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let mut session = Session::open(&self.writer).await?;
        let outcome = bounded(self.operation_timeout, async {
            let mut transaction = Sqlite::begin_write(&mut session).await?;
            let value = body(&mut transaction).await?;
            transaction.commit().await?;
            Ok(value)
        })
        .await;
        session.end(&outcome);
        record(operation, started, &outcome);
        outcome
    }
}

fn still_taken(rows: u64) -> Result<(), Error> {
    if rows == 0 { Err(Error::LostClaim) } else { Ok(()) }
}
