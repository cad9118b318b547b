//! The `transformer` program.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use safelight_media::{Library, MediaArgs};
use safelight_mesh::tls::TlsArgs;
use safelight_service::{
    MeshAdmin, Readiness, Shutdown, configuration_error, metrics, ops_router, telemetry,
};
use safelight_store::{Store, StoreArgs, StoreError};
use safelight_transformer::{Config, Transformer, serve};
use tokio::net::TcpListener;

/// Makes thumbnails out of pictures, and pictures out of films, behind gRPC.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// the address and port for gRPC, such as 0.0.0.0:50052
    #[arg(
        long,
        env = "TRANSFORMER_LISTEN",
        default_value = "0.0.0.0:50052",
        value_name = "ADDRESS:PORT"
    )]
    listen: SocketAddr,

    /// the address and port for /alive, /ready and /metrics, such as 0.0.0.0:8052
    #[arg(
        long,
        env = "TRANSFORMER_HTTP_LISTEN",
        default_value = "0.0.0.0:8052",
        value_name = "ADDRESS:PORT"
    )]
    http_listen: SocketAddr,

    #[command(flatten)]
    transformer: Config,

    #[command(flatten)]
    media: MediaArgs,

    #[command(flatten)]
    store: StoreArgs,

    #[command(flatten)]
    tls: TlsArgs,
}

/// How often what killed processes left in the store is looked for, and how old that is at least.
const SWEEP: Duration = Duration::from_secs(60 * 60);

fn main() -> anyhow::Result<()> {
    let args: Args = safelight_service::parse();
    // The work is done in other threads; these only carry messages.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let _telemetry = telemetry::init("transformer");
    metrics::install();
    let store = Store::open(&args.store).unwrap_or_else(|error| configuration_error(error));
    let media = args.media;
    // Uploads lie in the store, and outputs may be worked on as well.
    let library =
        Library::with_store(&media, Some(&store)).unwrap_or_else(|error| configuration_error(error));
    let tls = args
        .tls
        .server()
        .unwrap_or_else(|error| configuration_error(error));
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("TRANSFORMER_LISTEN: cannot listen on {}", args.listen))?;
    let http = TcpListener::bind(args.http_listen)
        .await
        .with_context(|| format!("TRANSFORMER_HTTP_LISTEN: cannot listen on {}", args.http_listen))?;

    let shutdown = Shutdown::on_signals();
    let tried = store.clone();
    if let Ok(Err(error @ StoreError::Overwrites)) = tokio::task::spawn_blocking(move || tried.check()).await
    {
        configuration_error(format_args!("STORAGE_URL: {error}"));
    }
    let transformer = Transformer::start(&args.transformer, library, media.max_pixels, store.clone())
        .await
        .unwrap_or_else(|error| configuration_error(error));
    let readiness = Readiness::new(shutdown.clone());
    let asked = transformer.clone();
    readiness.register("store", Duration::from_secs(2), move || {
        let transformer = asked.clone();
        async move { transformer.check_store().await.map_err(|error| error.to_string()) }
    });
    tokio::spawn(sweep(store));
    tracing::info!(grpc = %listener.local_addr()?, http = %http.local_addr()?, "listening");
    let ops = safelight_service::serve(
        http,
        ops_router(readiness, &MeshAdmin::default()),
        shutdown.clone(),
    );
    let (grpc, ops) = tokio::join!(serve(listener, transformer, tls, shutdown), ops);
    grpc?;
    ops?;
    Ok(())
}

/// Removes what was begun and never finished, now and then.
async fn sweep(store: Store) {
    loop {
        let of = store.clone();
        match tokio::task::spawn_blocking(move || of.sweep_temporary(SWEEP)).await {
            Ok(Ok(0)) | Err(_) => {}
            Ok(Ok(objects)) => tracing::info!(objects, "removed what was never finished from the store"),
            Ok(Err(error)) => tracing::warn!(%error, "the store could not be swept"),
        }
        tokio::time::sleep(SWEEP).await;
    }
}
