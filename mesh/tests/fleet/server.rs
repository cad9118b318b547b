//! A recognizer that does what it is told, and counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use safelight_proto::facerecog::health_check_server::{HealthCheck, HealthCheckServer};
use safelight_proto::facerecog::identify_server::{Identify, IdentifyServer};
use safelight_proto::facerecog::{Empty, HealthCheckResponse, IdentifyRequest, IdentifyResponse};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// What a healthy call takes. Long enough that a busy machine does not double it.
pub(crate) const SERVICE_TIME: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Manner {
    Well,
    Slow(Duration),
    /// Every second call is answered `UNAVAILABLE`.
    HalfUnavailable,
    /// Every call is answered `UNAVAILABLE`.
    Unavailable,
}

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) manner: watch::Sender<Manner>,
    pub(crate) calls: Arc<AtomicUsize>,
    pub(crate) probes: Arc<AtomicUsize>,
}

/// Keeps a server. Dropped, it is killed with all its connections.
pub(crate) struct Running {
    pub(crate) server: Server,
    runtime: Option<tokio::runtime::Runtime>,
    stop: watch::Sender<bool>,
}

// === impl Server ===

impl Server {
    pub(crate) fn new() -> Self {
        Self {
            address: "127.0.0.1:0".parse().unwrap(),
            manner: watch::channel(Manner::Well).0,
            calls: Arc::default(),
            probes: Arc::default(),
        }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn probes(&self) -> usize {
        self.probes.load(Ordering::SeqCst)
    }

    /// Starts it, at the address it had before if it had one, on a runtime of its own.
    pub(crate) async fn start(self) -> Running {
        self.try_start().await.unwrap()
    }

    /// The same where the address may be taken.
    pub(crate) async fn try_start(mut self) -> std::io::Result<Running> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let wanted = self.address;
        let listener = match runtime.spawn(async move { listen(wanted) }).await.unwrap() {
            Ok(listener) => listener,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        self.address = listener.local_addr().unwrap();
        let stop = watch::channel(false).0;
        let mut stopped = stop.subscribe();
        let service = self.clone();
        runtime.spawn(async move {
            tonic::transport::Server::builder()
                .add_service(IdentifyServer::new(service.clone()))
                .add_service(HealthCheckServer::new(service))
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
                    stopped.wait_for(|stop| *stop).await.ok();
                })
                .await
                .unwrap();
        });
        Ok(Running {
            server: self,
            runtime: Some(runtime),
            stop,
        })
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(256)
}

#[tonic::async_trait]
impl Identify for Server {
    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let manner = *self.manner.borrow();
        match manner {
            Manner::Unavailable => return Err(Status::unavailable("as told")),
            Manner::HalfUnavailable if call.is_multiple_of(2) => return Err(Status::unavailable("as told")),
            Manner::Slow(time) => tokio::time::sleep(time).await,
            Manner::Well | Manner::HalfUnavailable => tokio::time::sleep(SERVICE_TIME).await,
        }
        let image_name = request.into_inner().image_path;
        Ok(Response::new(IdentifyResponse { image_name }))
    }
}

#[tonic::async_trait]
impl HealthCheck for Server {
    async fn health_check(&self, _: Request<Empty>) -> Result<Response<HealthCheckResponse>, Status> {
        self.probes.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(HealthCheckResponse { ready: true }))
    }
}

// === impl Running ===

impl Running {
    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill(mut self) -> Server {
        self.shut_down();
        self.server.clone()
    }

    /// Ends it in good order: GOAWAY, and what runs is finished.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    fn shut_down(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shut_down();
    }
}
