//! The `recognizer` program.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use safelight_database::{DatabaseArgs, Error};
use safelight_media::{Library, MediaArgs};
use safelight_mesh::tls::TlsArgs;
use safelight_recognizer::{Config, Recognizer, State, check_cpu, serve};
use safelight_service::{
    MeshAdmin, Readiness, Shutdown, configuration_error, metrics, ops_router, telemetry,
};
use safelight_store::{Store, StoreArgs};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Recognizes faces in pictures, behind gRPC.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// the address and port for gRPC, such as 0.0.0.0:50051
    #[arg(
        long,
        env = "RECOGNIZER_LISTEN",
        default_value = "0.0.0.0:50051",
        value_name = "ADDRESS:PORT"
    )]
    listen: SocketAddr,

    /// the address and port for /alive, /ready and /metrics, such as 0.0.0.0:8051
    #[arg(
        long,
        env = "RECOGNIZER_HTTP_LISTEN",
        default_value = "0.0.0.0:8051",
        value_name = "ADDRESS:PORT"
    )]
    http_listen: SocketAddr,

    #[command(flatten)]
    recognizer: Config,

    #[command(flatten)]
    media: MediaArgs,

    #[command(flatten)]
    store: StoreArgs,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    tls: TlsArgs,
}

fn main() -> anyhow::Result<()> {
    if let Err(missing) = check_cpu() {
        eprintln!("recognizer: {missing}");
        std::process::exit(1);
    }
    let args: Args = safelight_service::parse();
    // The work is done in the recognizer's own threads; these only carry messages.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let _telemetry = telemetry::init("recognizer");
    metrics::install();
    // Uploads lie in the store.
    let store = Store::open_if_named(&args.store).unwrap_or_else(|error| configuration_error(error));
    let library =
        Library::with_store(&args.media, store.as_ref()).unwrap_or_else(|error| configuration_error(error));
    let url = args
        .database
        .url()
        .unwrap_or_else(|error| configuration_error(error));
    let database = match url {
        // It may be away; the recognizer says NOT_SERVING until it has read who is known.
        Some(_) => match args.database.open().await {
            Err(wrong @ Error::Invalid(_)) => configuration_error(wrong),
            opened => Some(opened.context("cannot open the database")?),
        },
        None => None,
    };
    let tls = args
        .tls
        .server()
        .unwrap_or_else(|error| configuration_error(error));
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("RECOGNIZER_LISTEN: cannot listen on {}", args.listen))?;
    let http = TcpListener::bind(args.http_listen)
        .await
        .with_context(|| format!("RECOGNIZER_HTTP_LISTEN: cannot listen on {}", args.http_listen))?;

    let shutdown = Shutdown::on_signals();
    let recognizer = Recognizer::start(args.recognizer, library, database)
        .unwrap_or_else(|error| configuration_error(error));
    let readiness = Readiness::new(shutdown.clone());
    report_readiness(readiness.clone(), recognizer.state());
    tracing::info!(grpc = %listener.local_addr()?, http = %http.local_addr()?, "listening");
    let ops = safelight_service::serve(
        http,
        ops_router(readiness, &MeshAdmin::default()),
        shutdown.clone(),
    );
    let (grpc, ops) = tokio::join!(serve(listener, recognizer, tls, shutdown), ops);
    grpc?;
    ops?;
    Ok(())
}

/// Follows the state from now on. The first report is made before this returns, so that `/ready` never says
/// yes before.
fn report_readiness(readiness: Readiness, mut state: watch::Receiver<State>) {
    readiness.set("recognizer", readiness_in(&state.borrow_and_update()));
    tokio::spawn(async move {
        while state.changed().await.is_ok() {
            readiness.set("recognizer", readiness_in(&state.borrow_and_update()));
        }
    });
}

fn readiness_in(state: &State) -> Result<(), String> {
    match state {
        State::Serving => Ok(()),
        State::Loading => Err("loading models and known people".to_owned()),
        State::Failed(reason) => Err(reason.clone()),
        State::Stopping => Err("stopping".to_owned()),
    }
}
