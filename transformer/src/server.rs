use std::time::Duration;

use safelight_mesh::server::{ServeError, Server};
use safelight_mesh::tls::ServerTls;
use safelight_proto::FILE_DESCRIPTOR_SET;
use safelight_proto::transformer::v1::transformer_server::TransformerServer;
use safelight_service::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::grpc::Transforms;
use crate::transformer::Transformer;

/// The largest request, in bytes: a URI of 4,096 characters, a key and the sizes fit several times.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// How often the store is asked whether it works.
const STORE_CHECKED: Duration = Duration::from_secs(2);

/// Serves the contract, health and reflection until the shutdown, by TLS where that is given. Health says `NOT_SERVING`
/// while the store does not work.
///
/// Then, in this order: health says `NOT_SERVING`; no connection is taken any more; calls that run are finished, for at
/// most 15 seconds.
///
/// # Errors
/// Where the server cannot be built. Calls that had to be cut off are logged and are no error.
pub async fn serve(
    listener: TcpListener,
    transformer: Transformer,
    tls: Option<ServerTls>,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let (ready, readiness) = watch::channel(false);
    let watching = watch_store(transformer.clone(), ready.clone(), shutdown.clone());
    let transforms = TransformerServer::new(Transforms::new(transformer, ready));
    let mut server = Server::builder("transformer")
        .reflection(&[FILE_DESCRIPTOR_SET])
        .health(readiness)
        .add_service(transforms.max_decoding_message_size(MAX_REQUEST_BYTES));
    if let Some(tls) = tls {
        server = server.secure(tls);
    }
    server
        .build()?
        .serve(listener, async move { shutdown.triggered().await })
        .await;
    watching.abort();
    Ok(())
}

/// Says `NOT_SERVING` while the store is away, so that whoever calls waits.
fn watch_store(transformer: Transformer, ready: watch::Sender<bool>, shutdown: Shutdown) -> AbortHandle {
    let watching = tokio::spawn(async move {
        while !shutdown.is_triggered() {
            let checked = transformer.check_store().await;
            let changed = ready.send_if_modified(|is_ready| {
                let before = std::mem::replace(is_ready, checked.is_ok());
                before != *is_ready
            });
            match checked {
                Err(error) if changed => tracing::warn!(%error, "not serving until the store works"),
                _ => {}
            }
            tokio::select! {
                () = tokio::time::sleep(STORE_CHECKED) => {}
                () = shutdown.triggered() => {}
            }
        }
    });
    watching.abort_handle()
}
