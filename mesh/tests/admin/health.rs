//! A server whose health can be told what to say.

use std::net::SocketAddr;

use safelight_mesh::{Probe, Target};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::load::hasty;

pub(crate) struct HealthServer {
    pub(crate) address: SocketAddr,
    reporter: HealthReporter,
    serving: JoinHandle<()>,
}

// === impl HealthServer ===

impl HealthServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (reporter, service) = tonic_health::server::health_reporter();
        let serving = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        Self {
            address,
            reporter,
            serving: tokio::spawn(async move { serving.await.unwrap() }),
        }
    }

    pub(crate) async fn says(&self, status: ServingStatus) {
        self.reporter.set_service_status("", status).await;
    }

    pub(crate) fn target(&self) -> Target {
        Target::builder("recognizer", format!("static:///{}", self.address))
            .settings(hasty())
            .probe(Probe::GrpcHealth {
                service: String::new(),
            })
            .connect()
            .unwrap()
    }
}

impl Drop for HealthServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
