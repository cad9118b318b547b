//! One operation on one connection: bounded in time, repeated after a deadlock, cleaned up after a cut.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use sqlx::mysql::MySqlQueryResult;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqliteQueryResult;
use sqlx::{Connection as _, MySql, MySqlConnection, Pool, Sqlite, SqliteConnection, Transaction};

use crate::Error;

/// How often a transaction that met a deadlock is repeated before the caller hears of it.
pub(crate) const REPEATS: u32 = 5;

/// A pooled connection that goes back to its pool only when its last operation came to an end. One that
/// was cut off in the middle, by a deadline or a dropped future, is closed: its answer may still come, or
/// never, and the pool would wait for it.
pub(crate) struct Session<DB: sqlx::Database> {
    connection: PoolConnection<DB>,
    ended: bool,
}

// === impl Session ===

impl<DB: sqlx::Database> Session<DB> {
    pub(crate) async fn open(pool: &Pool<DB>) -> Result<Session<DB>, Error> {
        Ok(Session {
            connection: pool.acquire().await?,
            ended: false,
        })
    }

    /// To be called when the operation has come to an end, with success or with an answer of the server.
    pub(crate) fn end<T>(&mut self, outcome: &Result<T, Error>) {
        self.ended = match outcome {
            Err(error) => error.is_conflict() || !error.is_unavailable(),
            Ok(_) => true,
        };
    }
}

impl<DB: sqlx::Database> Deref for Session<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.connection
    }
}

impl<DB: sqlx::Database> DerefMut for Session<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.connection
    }
}

impl<DB: sqlx::Database> Drop for Session<DB> {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

/// How a writing transaction begins.
pub(crate) trait BeginWrite: sqlx::Database {
    fn begin_write(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<Transaction<'_, Self>, sqlx::Error>> + Send;
}

impl BeginWrite for MySql {
    async fn begin_write(connection: &mut MySqlConnection) -> Result<Transaction<'_, MySql>, sqlx::Error> {
        connection.begin().await
    }
}

impl BeginWrite for Sqlite {
    /// Takes the write lock at once: a transaction that reads first and finds the lock taken when it comes
    /// to write cannot wait, it fails.
    async fn begin_write(connection: &mut SqliteConnection) -> Result<Transaction<'_, Sqlite>, sqlx::Error> {
        connection.begin_with("BEGIN IMMEDIATE").await
    }
}

/// The id that the database gave to the row that a statement inserted.
pub(crate) trait NewId {
    fn new_id(&self) -> i64;
}

impl NewId for MySqlQueryResult {
    fn new_id(&self) -> i64 {
        // The columns are signed, so no id is greater than that.
        self.last_insert_id() as i64
    }
}

impl NewId for SqliteQueryResult {
    fn new_id(&self) -> i64 {
        self.last_insert_rowid()
    }
}

/// Runs an operation that must end within `limit`.
pub(crate) async fn bounded<T>(
    limit: Duration,
    operation: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, operation).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::unavailable(format!("no answer within {limit:?}"))),
    }
}

/// Waits a little, longer each time and never in step with the other side of the deadlock.
pub(crate) async fn pause_before_repeat(attempt: u32) {
    let longest = 4u64 << attempt.min(6);
    tokio::time::sleep(Duration::from_millis(rand::random_range(1..=longest))).await;
}

/// Counts and times an operation for the metrics.
pub(crate) fn record<T>(operation: &'static str, started: Instant, outcome: &Result<T, Error>) {
    metrics::histogram!("safelight_database_operation_seconds", "operation" => operation)
        .record(started.elapsed());
    if let Err(Error::Unavailable(_)) = outcome {
        metrics::counter!("safelight_database_unavailable_total", "operation" => operation).increment(1);
    }
}

/// Runs `$body` with a connection to read from, on whichever back end there is. The fragments of the
/// dialect are in scope. Evaluates to a `Result`; `?` inside ends the operation.
macro_rules! reading {
    ($database:expr, $operation:literal, |$connection:ident| $body:block) => {{
        let inner = &*$database.inner;
        match &inner.backend {
            $crate::connect::Backend::MySql(pool) => {
                $crate::dialect::mysql!();
                $crate::session::reading!(@on pool, inner, $operation, |$connection| $body)
            }
            $crate::connect::Backend::Sqlite { readers, .. } => {
                $crate::dialect::sqlite!();
                $crate::session::reading!(@on readers, inner, $operation, |$connection| $body)
            }
        }
    }};
    (@on $pool:ident, $inner:ident, $operation:literal, |$connection:ident| $body:block) => {{
        let started = std::time::Instant::now();
        let outcome = async {
            let mut session = $crate::session::Session::open($pool).await?;
            let outcome = $crate::session::bounded($inner.operation_timeout, async {
                let $connection = &mut *session;
                Ok::<_, $crate::Error>($body)
            })
            .await;
            session.end(&outcome);
            outcome
        }
        .await;
        $crate::session::record($operation, started, &outcome);
        outcome
    }};
}

/// Runs `$body` in one transaction, as [`reading!`] does; it is repeated where it meets a deadlock.
macro_rules! transaction {
    ($database:expr, $operation:literal, |$connection:ident| $body:block) => {{
        let inner = &*$database.inner;
        match &inner.backend {
            $crate::connect::Backend::MySql(pool) => {
                $crate::dialect::mysql!();
                $crate::session::transaction!(@on sqlx::MySql, pool, inner, $operation, |$connection| $body)
            }
            $crate::connect::Backend::Sqlite { writer, .. } => {
                $crate::dialect::sqlite!();
                $crate::session::transaction!(@on sqlx::Sqlite, writer, inner, $operation, |$connection| $body)
            }
        }
    }};
    (@on $backend:ty, $pool:ident, $inner:ident, $operation:literal, |$connection:ident| $body:block) => {{
        let started = std::time::Instant::now();
        let mut repeats = 0;
        let outcome = loop {
            let outcome = async {
                let mut session = $crate::session::Session::open($pool).await?;
                let outcome = $crate::session::bounded($inner.operation_timeout, async {
                    let mut transaction =
                        <$backend as $crate::session::BeginWrite>::begin_write(&mut session).await?;
                    let value = {
                        let $connection = &mut *transaction;
                        $body
                    };
                    transaction.commit().await?;
                    Ok::<_, $crate::Error>(value)
                })
                .await;
                session.end(&outcome);
                outcome
            }
            .await;
            match outcome {
                Err(error) if error.is_conflict() && repeats < $crate::session::REPEATS => {
                    repeats += 1;
                    $crate::session::pause_before_repeat(repeats).await;
                }
                outcome => break outcome,
            }
        };
        $crate::session::record($operation, started, &outcome);
        outcome
    }};
}

pub(crate) use {reading, transaction};
