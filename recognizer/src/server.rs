use safelight_mesh::server::{ServeError, Server};
use safelight_mesh::tls::ServerTls;
use safelight_proto::FILE_DESCRIPTOR_SET;
use safelight_proto::facerecog::health_check_server::HealthCheckServer;
use safelight_proto::facerecog::identify_server::IdentifyServer;
use safelight_proto::recognizer::v1::recognizer_server::RecognizerServer;
use safelight_service::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::grpc::facerecog::FaceRecog;
use crate::grpc::people::PeopleAndFaces;
use crate::recognizer::Recognizer;
use crate::state::State;

/// The largest request, in bytes: a URI of 4,096 characters and a name fit several times.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// Serves the gRPC contracts, health and reflection until the shutdown, by TLS where that is given.
///
/// Then, in this order: health says `NOT_SERVING`; no connection is taken any more; calls that run are finished,
/// for at most 15 seconds; the recognizer is stopped.
///
/// # Errors
/// Where the server cannot be built. Calls that had to be cut off are logged and are no error.
pub async fn serve(
    listener: TcpListener,
    recognizer: Recognizer,
    tls: Option<ServerTls>,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let facerecog = FaceRecog::new(recognizer.clone());
    let people = PeopleAndFaces::new(recognizer.clone());
    let mut server = Server::builder("recognizer")
        .reflection(&[FILE_DESCRIPTOR_SET])
        .health(readiness(recognizer.state()))
        .add_service(IdentifyServer::new(facerecog.clone()).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(HealthCheckServer::new(facerecog))
        .add_service(RecognizerServer::new(people).max_decoding_message_size(MAX_REQUEST_BYTES));
    if let Some(tls) = tls {
        server = server.secure(tls);
    }
    server
        .build()?
        .serve(listener, async move { shutdown.triggered().await })
        .await;
    // Only now: what was on its way when the shutdown came was still to be answered.
    recognizer.stop();
    Ok(())
}

/// Whether pictures are recognized, as it changes. The first answer is there before this returns.
fn readiness(mut state: watch::Receiver<State>) -> watch::Receiver<bool> {
    let (ready, readiness) = watch::channel(state.borrow_and_update().is_serving());
    tokio::spawn(async move {
        while state.changed().await.is_ok() {
            let serving = state.borrow_and_update().is_serving();
            if ready.send(serving).is_err() {
                break;
            }
        }
    });
    readiness
}
