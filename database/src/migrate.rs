//! Bringing the schema to the version of this program.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::mysql::MySqlPool;
use sqlx::sqlite::SqlitePool;

use crate::Error;
use crate::connect::Backend;
use crate::session::{BeginWrite as _, Session};

static MYSQL: Migrator = sqlx::migrate!("./migrations/mysql");
static SQLITE: Migrator = sqlx::migrate!("./migrations/sqlite");

/// How long a program waits for another one that migrates, in seconds.
const LOCK_TIMEOUT: i64 = 300;

/// The newest migration that was applied, 0 where there is none.
pub(crate) const NEWEST_APPLIED: &str =
    "SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success = TRUE";

/// The newest migration that this program knows.
pub(crate) fn newest() -> i64 {
    MYSQL.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Reads the answer to [`NEWEST_APPLIED`] of a database that was never migrated.
pub(crate) fn no_table_is_no_version(error: sqlx::Error) -> Result<i64, Error> {
    let missing = error.as_database_error().is_some_and(|answer| {
        let mysql = answer.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>();
        mysql.map_or_else(
            || answer.message().contains("no such table"),
            |answer| answer.number() == 1146,
        )
    });
    if missing { Ok(0) } else { Err(error.into()) }
}

/// Applies what is missing.
pub(crate) async fn run(backend: &Backend) -> Result<(), Error> {
    match backend {
        Backend::MySql(pool) => run_mysql(pool).await,
        Backend::Sqlite { writer, .. } => run_sqlite(writer).await,
    }
}

/// MySQL commits every statement that changes the schema, so nothing but a lock of its own keeps several
/// programs apart. It is taken here because sqlx asks for it without a time limit, which MariaDB refuses
/// to mean, silently taking no lock at all.
async fn run_mysql(pool: &MySqlPool) -> Result<(), Error> {
    // The lock belongs to the connection: where this ends early the session is closed and the lock with it.
    let mut session = Session::open(pool).await?;
    let locked: Option<i64> =
        sqlx::query_scalar("SELECT GET_LOCK(CONCAT('safelight-migrate.', MD5(DATABASE())), ?)")
            .bind(LOCK_TIMEOUT)
            .fetch_one(&mut *session)
            .await?;
    if locked != Some(1) {
        return Err(Error::unavailable(
            "another program has been migrating the database for minutes",
        ));
    }
    forget_cut_off_migrations(&mut session).await?;
    migrator(&MYSQL).run_direct(None, &mut *session, false).await?;
    sqlx::query("DO RELEASE_LOCK(CONCAT('safelight-migrate.', MD5(DATABASE())))")
        .execute(&mut *session)
        .await?;
    session.end(&Ok(()));
    Ok(())
}

/// A program that died in the middle of a migration left the mark of an unfinished one. Every statement of
/// our migrations for MySQL can be run again, so the answer is to run it again.
async fn forget_cut_off_migrations(session: &mut Session<sqlx::MySql>) -> Result<(), Error> {
    let deleted = sqlx::query("DELETE FROM _sqlx_migrations WHERE success = FALSE")
        .execute(&mut **session)
        .await;
    match deleted {
        Ok(_) => Ok(()),
        Err(error) => no_table_is_no_version(error).map(drop),
    }
}

/// On SQLite all of it is one transaction, which is also the lock.
async fn run_sqlite(writer: &SqlitePool) -> Result<(), Error> {
    let mut session = Session::open(writer).await?;
    let mut transaction = sqlx::Sqlite::begin_write(&mut session).await?;
    migrator(&SQLITE)
        .run_direct(None, &mut *transaction, false)
        .await?;
    transaction.commit().await?;
    session.end(&Ok(()));
    Ok(())
}

/// Does not mind migrations of a newer program, whose database this one can use as well.
fn migrator(source: &'static Migrator) -> Migrator {
    let mut migrator = Migrator {
        migrations: source.migrations.clone(),
        ..Migrator::DEFAULT
    };
    migrator.set_ignore_missing(true).set_locking(false);
    migrator
}

impl From<MigrateError> for Error {
    fn from(error: MigrateError) -> Error {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => Error::Other(other.into()),
        }
    }
}
