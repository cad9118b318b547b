//! The `processor` program.

use anyhow::Context;
use clap::Parser;
use safelight_database::DatabaseArgs;
use safelight_mesh::MeshArgs;
use safelight_processor::{OpsArgs, Processor, ProcessorArgs, run};
use safelight_queue::QueueArgs;
use safelight_service::{
    MeshAdmin, MeshAdminArgs, Readiness, Shutdown, configuration_error, ops_router, parse, serve, telemetry,
};
use tokio::net::TcpListener;

/// Takes every accepted image to the services that work on it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    processor: ProcessorArgs,
    #[command(flatten)]
    ops: OpsArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    mesh: MeshArgs,
    #[command(flatten)]
    mesh_admin: MeshAdminArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Arguments = parse();
    let _telemetry = telemetry::init("processor");
    safelight_service::metrics::install();
    let shutdown = Shutdown::on_signals();
    let readiness = Readiness::new(shutdown.clone());
    let listen = arguments.ops.listen;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen}"))?;
    tracing::info!(address = %listener.local_addr()?, "probes, metrics and mesh");
    let mesh = MeshAdmin::new(arguments.mesh_admin);
    let router = ops_router(readiness.clone(), &mesh);
    let ops = tokio::spawn(serve(listener, router, shutdown.clone()));

    let database = arguments.database.open().await?;
    let queue = arguments.queue.connect(&database)?;
    let recognizer = arguments
        .processor
        .recognizer(&arguments.mesh)
        .unwrap_or_else(|error| configuration_error(error));
    mesh.show(recognizer.clone());
    let transformer = arguments
        .processor
        .transformer(&arguments.mesh)
        .unwrap_or_else(|error| configuration_error(error));
    if let Some(transformer) = &transformer {
        mesh.show(transformer.clone());
    }
    let processor = Processor {
        database,
        queue,
        recognizer,
        recognizer_api: arguments.processor.recognizer_api,
        transformer,
        settings: arguments.processor.settings(),
    };
    let worked = run(processor, readiness, shutdown.clone()).await;
    shutdown.trigger();
    ops.await??;
    Ok(worked?)
}
