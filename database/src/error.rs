//! What can go wrong, by what the caller can do about it.

use std::error::Error as StdError;

type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a call of this crate failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database did not answer, or could not just now: try again. Whether the transaction was committed
    /// is unknown where the connection broke at its end.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] Outage),
    /// There is no such record.
    #[error("no such record")]
    NotFound,
    /// The claim is no longer this worker's: its lease ran out and another one took the work, or the work
    /// has ended. Nothing was written; stop working on it.
    #[error("the claim was lost to another worker")]
    LostClaim,
    /// The database has an older schema than this program needs: run the migrations.
    #[error("the database has schema version {found}, this program needs {wanted}: run the migrations")]
    SchemaOutdated {
        /// The newest migration that was applied; 0 where there is none.
        found: i64,
        /// The newest migration that this program knows.
        wanted: i64,
    },
    /// What was given is wrong, and the same call will be refused again: a URL, a name, a path. Also a
    /// refused login and a database that does not exist.
    #[error("{0}")]
    Invalid(String),
    /// Anything else: a bug of this crate, or a database that was changed by others.
    #[error("unexpected answer of the database: {0}")]
    Other(#[source] BoxError),
}

/// How the database was away.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct Outage {
    conflict: bool,
    source: BoxError,
}

// === impl Error ===

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Error::Unavailable(_))
    }

    /// Whether the transaction was rolled back because it met another one, so that repeating it at once is
    /// both safe and sensible.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Error::Unavailable(Outage { conflict: true, .. }))
    }

    pub(crate) fn unavailable(reason: impl Into<BoxError>) -> Error {
        Error::Unavailable(Outage {
            conflict: false,
            source: reason.into(),
        })
    }

    fn conflict(reason: impl Into<BoxError>) -> Error {
        Error::Unavailable(Outage {
            conflict: true,
            source: reason.into(),
        })
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Error {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Error::unavailable(error),
            sqlx::Error::RowNotFound => Error::NotFound,
            sqlx::Error::Configuration(reason) => Error::Invalid(reason.to_string()),
            sqlx::Error::Database(answer) => match Meaning::of(answer.as_ref()) {
                Meaning::Conflict => Error::conflict(error),
                Meaning::Unavailable => Error::unavailable(error),
                Meaning::Refused => Error::Invalid(answer.message().to_owned()),
                Meaning::Other => Error::Other(error.into()),
            },
            _ => Error::Other(error.into()),
        }
    }
}

enum Meaning {
    Conflict,
    Unavailable,
    Refused,
    Other,
}

// === impl Meaning ===

impl Meaning {
    fn of(answer: &dyn sqlx::error::DatabaseError) -> Meaning {
        if let Some(mysql) = answer.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
            return Meaning::of_mysql(mysql.number());
        }
        // SQLite's extended codes carry the primary one in the low byte.
        let code = answer.code().and_then(|code| code.parse::<i32>().ok());
        code.map_or(Meaning::Other, |code| Meaning::of_sqlite(code & 0xff))
    }

    /// Numbers of <https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html> and
    /// <https://mariadb.com/kb/en/mariadb-error-code-reference/>.
    fn of_mysql(number: u16) -> Meaning {
        match number {
            // Deadlock; record changed since it was read (a snapshot conflict of newer MariaDB).
            1213 | 1020 => Meaning::Conflict,
            // Lock wait timeout.
            1205
            // Too many connections, of all or of one user; out of memory; out of disk.
            | 1040 | 1203 | 1226 | 1041 | 1037 | 1038 | 1021
            // Shutting down, connection killed or aborted, statement interrupted or out of time.
            | 1053 | 1077 | 1079 | 1152 | 1158 | 1159 | 1160 | 1161 | 1184 | 1927 | 1317 | 3024 | 1969
            // Read-only, as the old primary is during a failover.
            | 1290 | 1836
            // Lost connection, as proxies report it.
            | 2006 | 2013 => Meaning::Unavailable,
            // Access denied, unknown database.
            1044 | 1045 | 1049 | 1698 => Meaning::Refused,
            _ => Meaning::Other,
        }
    }

    /// Codes of <https://www.sqlite.org/rescode.html>.
    fn of_sqlite(primary_code: i32) -> Meaning {
        match primary_code {
            // Busy and locked, after the busy timeout; input or output error; disk full.
            5 | 6 | 10 | 13 => Meaning::Unavailable,
            // Cannot open; not a database.
            14 | 26 => Meaning::Refused,
            _ => Meaning::Other,
        }
    }
}
