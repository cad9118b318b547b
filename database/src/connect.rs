//! The connection to the database, and what it gives out.

use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection as _, Executor as _};

use crate::session::reading;
use crate::turn::PlainTurns;
use crate::{Batches, EmbeddedQueue, Error, Images, Notifications, Outbox, People, Tasks, Uploads, migrate};

/// A connection that lay idle longer than this is tried before it is used.
const TRIED_AFTER: Duration = Duration::from_secs(1);
/// How long that trial may take.
const TRIAL: Duration = Duration::from_secs(1);
/// SQLite has one writer at a time, and readers that cost a thread each.
const SQLITE_READERS: u32 = 4;

/// A pool of connections to MySQL, MariaDB or SQLite. Cheap to clone; clones share the pool.
#[derive(Debug, Clone)]
pub struct Database {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) backend: Backend,
    pub(crate) operation_timeout: Duration,
    pub(crate) plain_turns: PlainTurns,
}

#[derive(Debug)]
pub(crate) enum Backend {
    MySql(MySqlPool),
    Sqlite {
        /// One connection: writers of this process wait for it here, and not in SQLite's busy loop.
        writer: SqlitePool,
        readers: SqlitePool,
    },
}

/// Limits of the connection.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most connections to MySQL at a time, at least 1; SQLite has its own number. Default 16.
    pub max_connections: u32,
    /// How long a call waits for a connection, a new one or a free one. Default 5 s.
    pub acquire_timeout: Duration,
    /// How long an operation may take once it has its connection. Default 15 s.
    pub operation_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            max_connections: 16,
            acquire_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(15),
        }
    }
}

// === impl Database ===

impl Database {
    /// Connects to `mysql://user:password@host:port/database` (`mariadb://` too) or
    /// `sqlite:///path/to/file.db`; a SQLite file is created where it is missing, its folder is not. The
    /// schema is neither made nor checked: see [`Database::migrate`] and [`Database::ping`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL that cannot be used, a refused login and an unknown database;
    /// [`Error::Unavailable`] where nobody answers within [`Options::acquire_timeout`].
    pub async fn connect(url: &str, options: &Options) -> Result<Database, Error> {
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        let backend = match scheme {
            "mysql" | "mariadb" => Backend::MySql(connect_mysql(url, options).await?),
            "sqlite" => connect_sqlite(url, options).await?,
            _ => {
                return Err(Error::Invalid(
                    "the database's URL starts with neither mysql:// nor sqlite://".to_owned(),
                ));
            }
        };
        let inner = Inner {
            backend,
            operation_timeout: options.operation_timeout,
            plain_turns: PlainTurns::default(),
        };
        Ok(Database {
            inner: Arc::new(inner),
        })
    }

    /// [`Database::connect`] for a program that serves on while its database is away: a MySQL server that
    /// does not answer is no error here, and each call tells of it until it answers.
    ///
    /// # Errors
    /// [`Error::Invalid`] as for [`Database::connect`]. What is wrong with the login shows only when the
    /// server is there.
    pub async fn open(url: &str, options: &Options) -> Result<Database, Error> {
        match Database::connect(url, options).await {
            Err(Error::Unavailable(outage)) if !url.starts_with("sqlite:") => {
                tracing::warn!(%outage, "the database is away; going on without it until it is there");
                let (pool, connect) = mysql_pool(url, options)?;
                let backend = Backend::MySql(pool.connect_lazy_with(connect));
                let operation_timeout = options.operation_timeout;
                Ok(Database {
                    inner: Arc::new(Inner {
                        backend,
                        operation_timeout,
                        plain_turns: PlainTurns::default(),
                    }),
                })
            }
            connected => connected,
        }
    }

    /// Brings the schema to the version of this program. Does nothing where it is there already; several
    /// programs may call it at once. A migration that was cut off is repeated.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; [`Error::Other`] where the database holds something else.
    pub async fn migrate(&self) -> Result<(), Error> {
        migrate::run(&self.inner.backend).await
    }

    /// Checks that the database answers and that its schema is not older than this program. A newer one is
    /// fine: migrations only add, so that programs can be exchanged one after the other.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::SchemaOutdated`].
    pub async fn ping(&self) -> Result<(), Error> {
        let found = reading!(self, "ping", |connection| {
            let version = sqlx::query_scalar(migrate::NEWEST_APPLIED)
                .fetch_one(&mut *connection)
                .await;
            version.or_else(migrate::no_table_is_no_version)?
        })?;
        let wanted = migrate::newest();
        if found < wanted {
            return Err(Error::SchemaOutdated { found, wanted });
        }
        Ok(())
    }

    /// Closes all connections, waiting for the operations under way. Later calls fail with
    /// [`Error::Unavailable`].
    pub async fn close(&self) {
        match &self.inner.backend {
            Backend::MySql(pool) => pool.close().await,
            Backend::Sqlite { writer, readers } => {
                readers.close().await;
                // The last connection to close writes the log back into the file.
                writer.close().await;
            }
        }
    }

    /// The images: accepting, reading, listing.
    pub fn images(&self) -> Images {
        Images {
            database: self.clone(),
        }
    }

    /// The known people and their samples.
    pub fn people(&self) -> People {
        People {
            database: self.clone(),
        }
    }

    /// The work on images: claiming and ending it.
    pub fn tasks(&self) -> Tasks {
        Tasks {
            database: self.clone(),
        }
    }

    /// Jobs that were given together.
    pub fn batches(&self) -> Batches {
        Batches {
            database: self.clone(),
        }
    }

    /// What people and programs are to be told of jobs.
    pub fn notifications(&self) -> Notifications {
        Notifications {
            database: self.clone(),
        }
    }

    /// The messages that are still to be published.
    pub fn outbox(&self) -> Outbox {
        Outbox {
            database: self.clone(),
        }
    }

    /// The objects that are on their way into the store.
    pub fn uploads(&self) -> Uploads {
        Uploads {
            database: self.clone(),
        }
    }

    /// The queue of the embedded set-up: there is one on SQLite and none on MySQL.
    pub fn embedded_queue(&self) -> Option<EmbeddedQueue> {
        match &self.inner.backend {
            Backend::MySql(_) => None,
            Backend::Sqlite { writer, readers } => Some(EmbeddedQueue::new(
                writer.clone(),
                readers.clone(),
                self.inner.operation_timeout,
            )),
        }
    }
}

async fn connect_mysql(url: &str, options: &Options) -> Result<MySqlPool, Error> {
    let (pool, connect) = mysql_pool(url, options)?;
    Ok(pool.connect_with(connect).await?)
}

fn mysql_pool(url: &str, options: &Options) -> Result<(MySqlPoolOptions, MySqlConnectOptions), Error> {
    let connect: MySqlConnectOptions = url.parse().map_err(invalid_url)?;
    if connect.get_database().is_none_or(str::is_empty) {
        return Err(Error::Invalid(
            "the database's URL names no database: mysql://host/NAME".to_owned(),
        ));
    }
    let pool = MySqlPoolOptions::new()
        .max_connections(options.max_connections.max(1))
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, metadata| {
            Box::pin(async move {
                if metadata.idle_for < TRIED_AFTER {
                    return Ok(true);
                }
                let trial = tokio::time::timeout(TRIAL, connection.ping()).await;
                Ok(matches!(trial, Ok(Ok(()))))
            })
        })
        .after_connect(|connection, _| {
            Box::pin(async move {
                // Row locks on what is taken and nothing else, no gaps: claims of several workers and
                // inserts pass each other.
                connection
                    .execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                    .await?;
                // Text that is too long must fail whatever the server's configuration says, and a lock
                // that is held for long must not hold this connection as long.
                connection
                    .execute(
                        "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), \
                         SESSION innodb_lock_wait_timeout = 5",
                    )
                    .await?;
                Ok(())
            })
        });
    Ok((pool, connect))
}

async fn connect_sqlite(url: &str, options: &Options) -> Result<Backend, Error> {
    let connect: SqliteConnectOptions = url.parse().map_err(invalid_url)?;
    if connect.get_filename().as_os_str().is_empty() || url.contains(":memory:") {
        return Err(Error::Invalid(
            "the database's URL names no file: sqlite:///path/to/file.db".to_owned(),
        ));
    }
    let connect = connect
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // With the log (WAL), NORMAL would lose the last commits in a power cut, and they were promised.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(options.acquire_timeout);
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .acquire_timeout(options.acquire_timeout)
        .connect_with(connect.clone())
        .await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(SQLITE_READERS)
        .test_before_acquire(false)
        .acquire_timeout(options.acquire_timeout)
        .connect_with(connect.pragma("query_only", "1"))
        .await?;
    Ok(Backend::Sqlite { writer, readers })
}

/// The reason without the URL, which carries the password.
fn invalid_url(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::Configuration(reason) => {
            Error::Invalid(format!("the database's URL is wrong: {reason}"))
        }
        _ => Error::Invalid("the database's URL is wrong".to_owned()),
    }
}
