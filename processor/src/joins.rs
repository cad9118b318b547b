//! The net below those who end tasks: batches whose last task ended without anybody joining them.

use std::time::Duration;

use safelight_database::Database;
use safelight_service::Shutdown;

/// How often the database is asked.
const INTERVAL: Duration = Duration::from_secs(5);

/// No sweep joins more.
const MOST: u32 = 100;

/// Joins what nobody joined, at intervals, until `shutdown`.
pub(crate) async fn sweep(database: Database, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.triggered() => return,
        }
        match database.batches().sweep_joins(MOST).await {
            Ok(0) => {}
            Ok(joined) => tracing::info!(joined, "joined batches that were forgotten"),
            Err(error) => tracing::warn!(%error, "cannot look for batches to join"),
        }
    }
}
