//! The `safelight-notifier` program.

use anyhow::Context;
use clap::Parser;
use safelight_database::DatabaseArgs;
use safelight_notifier::{Notifier, NotifierArgs, OpsArgs, run};
use safelight_queue::QueueArgs;
use safelight_service::{
    MeshAdmin, Readiness, Shutdown, configuration_error, ops_router, parse, serve, telemetry,
};
use safelight_store::{Store, StoreArgs};
use tokio::net::TcpListener;

/// Tells people by mail, and programs by webhook, what became of a job.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    notifier: NotifierArgs,
    #[command(flatten)]
    ops: OpsArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    store: StoreArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Arguments = parse();
    let _telemetry = telemetry::init("notifier");
    safelight_service::metrics::install();
    let configuration = arguments
        .notifier
        .configuration()
        .unwrap_or_else(|wrong| configuration_error(wrong));
    // Without a store mails show no pictures; they lead to them all the same.
    let store = Store::open_if_named(&arguments.store).unwrap_or_else(|wrong| configuration_error(wrong));
    let shutdown = Shutdown::on_signals();
    let readiness = Readiness::new(shutdown.clone());
    let listen = arguments.ops.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    tracing::info!(address = %listener.local_addr()?, "probes and metrics");
    let router = ops_router(readiness.clone(), &MeshAdmin::default());
    let ops = tokio::spawn(serve(listener, router, shutdown.clone()));

    let database = arguments.database.open().await?;
    let queue = arguments.queue.connect(&database)?;
    let notifier = Notifier {
        database,
        queue,
        store,
        configuration,
    };
    let worked = run(notifier, readiness, shutdown.clone()).await;
    shutdown.trigger();
    ops.await??;
    Ok(worked?)
}
