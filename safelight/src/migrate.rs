//! `safelight migrate`: brings the database to the schema of this version.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use safelight_database::{DatabaseArgs, Error};
use safelight_service::configuration_error;

/// What the migration can be told.
#[derive(Args, Debug)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    database: DatabaseArgs,
    /// seconds to wait for a database that is not there yet, 0 to 3600
    #[arg(long, env = "MIGRATE_WAIT_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=3600))]
    wait_seconds: u64,
}

/// Migrates. Doing it again changes nothing; several may do it at once.
pub(crate) async fn run(arguments: MigrateArgs) -> anyhow::Result<()> {
    const PAUSE: Duration = Duration::from_millis(500);
    let give_up = tokio::time::Instant::now() + Duration::from_secs(arguments.wait_seconds);
    loop {
        let migrated = async {
            let database = arguments.database.open().await?;
            database.migrate().await
        };
        match migrated.await {
            Ok(()) => break,
            Err(error) if error.is_unavailable() && tokio::time::Instant::now() < give_up => {
                tracing::info!(%error, "waiting for the database");
                tokio::time::sleep(PAUSE).await;
            }
            Err(Error::Invalid(reason)) => configuration_error(reason),
            Err(error) => return Err(error).context("the database was not migrated"),
        }
    }
    tracing::info!("the database has the schema of this version");
    Ok(())
}
