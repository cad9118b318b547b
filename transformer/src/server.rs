use safelight_mesh::server::{ServeError, Server};
use safelight_mesh::tls::ServerTls;
use safelight_proto::FILE_DESCRIPTOR_SET;
use safelight_proto::transformer::v1::transformer_server::TransformerServer;
use safelight_service::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::grpc::Transforms;
use crate::room;
use crate::transformer::Transformer;

/// The largest request, in bytes: a URI of 4,096 characters, a key and the sizes fit several times.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// Serves the contract, health and reflection until the shutdown, by TLS where that is given. While the store takes
/// nothing health says `NOT_SERVING`, so that work waits with those who have it; what comes all the same is answered.
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
    // Ends with the server, when nobody listens any more.
    tokio::spawn(room::watch(transformer.clone(), ready.clone()));
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
    Ok(())
}
