use std::time::Duration;

use safelight_proto::FILE_DESCRIPTOR_SET;
use safelight_proto::facerecog::health_check_server::HealthCheckServer;
use safelight_proto::facerecog::identify_server::IdentifyServer;
use safelight_proto::recognizer::v1::recognizer_server::RecognizerServer;
use safelight_service::Shutdown;
use thiserror::Error;
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::pb::health_server::HealthServer;

use crate::grpc::facerecog::FaceRecog;
use crate::grpc::health::HealthService;
use crate::grpc::people::PeopleAndFaces;
use crate::recognizer::Recognizer;

/// How long calls that run when the shutdown comes may take to finish.
const DRAIN: Duration = Duration::from_secs(15);

/// The largest request, in bytes: a URI of 4,096 characters and a name fit several times.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// Calls that one connection may have at once. What is over the work queue is answered, not kept.
const MAX_STREAMS: u32 = 1024;

/// How often an idle connection is asked whether its other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Why serving ended early.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The listener or a connection failed.
    #[error("serving gRPC failed: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The contracts could not be described.
    #[error("the contracts' descriptors cannot be read: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves the gRPC contracts, health and reflection until the shutdown.
///
/// Then, in this order: health says `NOT_SERVING`, and new calls are answered `UNAVAILABLE`; no connection is
/// taken any more; calls that run are finished, for at most 15 seconds.
///
/// # Errors
/// Where the listener fails. Calls that had to be cut off are logged and are no error.
pub async fn serve(
    listener: TcpListener,
    recognizer: Recognizer,
    shutdown: Shutdown,
) -> Result<(), ServeError> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let facerecog = FaceRecog::new(recognizer.clone());
    let people = PeopleAndFaces::new(recognizer.clone());
    let router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(IdentifyServer::new(facerecog.clone()).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(HealthCheckServer::new(facerecog))
        .add_service(RecognizerServer::new(people).max_decoding_message_size(MAX_REQUEST_BYTES))
        .add_service(HealthServer::new(HealthService::new(recognizer.state())))
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);

    let stopping = shutdown.clone();
    let stop = async move {
        stopping.triggered().await;
        recognizer.stop();
    };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = router.serve_with_incoming_shutdown(incoming, stop);
    let late = async {
        shutdown.triggered().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server => Ok(ended?),
        () = late => {
            tracing::warn!(seconds = DRAIN.as_secs(), "calls still running were cut off");
            Ok(())
        }
    }
}
