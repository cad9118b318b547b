//! The frontend as a program of its own.

use anyhow::Context;
use safelight_database::Error;
use safelight_frontend::{Arguments, Deps, serve};
use safelight_media::Library;
use safelight_service::{Shutdown, configuration_error, metrics, parse, telemetry};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Arguments = parse();
    let _telemetry = telemetry::init("frontend");
    metrics::install();
    let shutdown = Shutdown::on_signals();
    let library = Library::new(&arguments.media).unwrap_or_else(|error| configuration_error(error));
    let database = match arguments.database.open().await {
        Err(wrong @ Error::Invalid(_)) => configuration_error(wrong),
        opened => opened.context("cannot open the database")?,
    };
    let address = arguments.listen();
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
