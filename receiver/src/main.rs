//! The receiver as a program of its own.

use anyhow::Context;
use safelight_database::Error;
use safelight_media::Library;
use safelight_receiver::{Arguments, Deps, serve};
use safelight_service::{Shutdown, configuration_error, metrics, parse, telemetry};
use safelight_store::{Store, StoreError};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Arguments = parse();
    let _telemetry = telemetry::init("receiver");
    metrics::install();
    let shutdown = Shutdown::on_signals();
    let library = Library::new(&arguments.media).unwrap_or_else(|error| configuration_error(error));
    let store = Store::open_if_named(&arguments.store).unwrap_or_else(|error| configuration_error(error));
    if let Some(tried) = store.clone()
        && let Ok(Err(error @ StoreError::Overwrites)) =
            tokio::task::spawn_blocking(move || tried.check()).await
    {
        configuration_error(format_args!("STORAGE_URL: {error}"));
    }
    let database = match arguments.database.open().await {
        Err(wrong @ Error::Invalid(_)) => configuration_error(wrong),
        opened => opened.context("cannot open the database")?,
    };
    let queue = arguments
        .queue
        .connect(&database)
        .context("cannot open the queue")?;
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    tracing::info!(address = %arguments.listen, "taking images");
    let deps = Deps {
        database,
        queue,
        library,
        store,
        limits: arguments.limits,
    };
    serve(listener, deps, shutdown).await?;
    Ok(())
}
