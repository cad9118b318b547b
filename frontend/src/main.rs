//! The frontend as a program of its own.

use anyhow::Context;
use safelight_database::Error;
use safelight_frontend::{Arguments, Deps, serve};
use safelight_media::Library;
use safelight_service::{Shutdown, configuration_error, metrics, parse, telemetry};
use safelight_store::Store;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Arguments = parse();
    let _telemetry = telemetry::init("frontend");
    metrics::install();
    let shutdown = Shutdown::on_signals();
    let address = arguments.listen();
    // Uploads lie in the store, and what was made of them.
    let store = Store::open_if_named(&arguments.store).unwrap_or_else(|error| configuration_error(error));
    let library = Library::with_store(&arguments.media, store.as_ref())
        .unwrap_or_else(|error| configuration_error(error));
    let database = match arguments.database.open().await {
        Err(wrong @ Error::Invalid(_)) => configuration_error(wrong),
        opened => opened.context("cannot open the database")?,
    };
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    tracing::info!(%address, "showing images");
    serve(
        listener,
        Deps {
            database,
            library,
            settings: arguments.settings,
        },
        shutdown,
    )
    .await?;
    Ok(())
}
