//! A recognizer for tests: a real tonic server on loopback that does what it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use safelight_mesh::{Availability, MeshChannel, Settings, Target};
use safelight_proto::facerecog::health_check_server::{HealthCheck, HealthCheckServer};
use safelight_proto::facerecog::identify_client::IdentifyClient;
use safelight_proto::facerecog::identify_server::{Identify, IdentifyServer};
use safelight_proto::facerecog::{Empty, HealthCheckResponse, IdentifyRequest, IdentifyResponse};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

/// What the server does with a call.
#[derive(Clone, Debug)]
pub(crate) enum Manner {
    Answer,
    Fail(Code),
    /// Does not answer until it is told otherwise.
    Hang,
}

#[derive(Clone)]
pub(crate) struct Recognizer {
    pub(crate) manner: watch::Sender<Manner>,
    pub(crate) ready: watch::Sender<bool>,
    pub(crate) calls: Arc<AtomicUsize>,
    pub(crate) probes: Arc<AtomicUsize>,
    /// Counts calls that have begun, to wait for one.
    pub(crate) begun: watch::Sender<usize>,
    pub(crate) last_timeout: watch::Sender<Option<String>>,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) recognizer: Recognizer,
    runtime: Option<tokio::runtime::Runtime>,
    _serving: AbortHandle,
}

// === impl Recognizer ===

impl Recognizer {
    pub(crate) fn new() -> Self {
        Self {
            manner: watch::channel(Manner::Answer).0,
            ready: watch::channel(true).0,
            calls: Arc::default(),
            probes: Arc::default(),
            begun: watch::channel(0).0,
            last_timeout: watch::channel(None).0,
        }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[tonic::async_trait]
impl Identify for Recognizer {
    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let timeout = request
            .metadata()
            .get("grpc-timeout")
            .map(|value| value.to_str().unwrap().to_owned());
        self.last_timeout.send_replace(timeout);
        self.begun.send_modify(|begun| *begun += 1);
        let manner = {
            let mut manner = self.manner.subscribe();
            let told = manner.wait_for(|manner| !matches!(manner, Manner::Hang)).await;
            told.unwrap().clone()
        };
        match manner {
            Manner::Fail(code) => Err(Status::new(code, "as told")),
            Manner::Answer | Manner::Hang => {
                let image_name = request.into_inner().image_path;
                Ok(Response::new(IdentifyResponse { image_name }))
            }
        }
    }
}

#[tonic::async_trait]
impl HealthCheck for Recognizer {
    async fn health_check(&self, _: Request<Empty>) -> Result<Response<HealthCheckResponse>, Status> {
        self.probes.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(HealthCheckResponse {
            ready: *self.ready.borrow(),
        }))
    }
}

// === impl Server ===

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), Recognizer::new()).await
    }

    /// On a runtime of its own, so that it can be killed with all its connections in one stroke.
    pub(crate) async fn start_at(address: SocketAddr, recognizer: Recognizer) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let service = recognizer.clone();
        let (bound, address) = runtime
            .spawn(async move {
                let socket = tokio::net::TcpSocket::new_v4().unwrap();
                socket.set_reuseaddr(true).unwrap();
                socket.bind(address).unwrap();
                let listener = socket.listen(64).unwrap();
                let address = listener.local_addr().unwrap();
                (listener, address)
            })
            .await
            .unwrap();
        let serving = runtime.spawn(serve(bound, service)).abort_handle();
        Self {
            address,
            recognizer,
            runtime: Some(runtime),
            _serving: serving,
        }
    }

    pub(crate) fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it in the middle of whatever it does; gives what is needed to start it again.
    pub(crate) fn kill(mut self) -> (SocketAddr, Recognizer) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        (self.address, self.recognizer.clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(listener: TcpListener, recognizer: Recognizer) {
    tonic::transport::Server::builder()
        .add_service(IdentifyServer::new(recognizer.clone()))
        .add_service(HealthCheckServer::new(recognizer))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await
        .unwrap();
}

/// Settings by which a test need not wait long.
pub(crate) fn hasty() -> Settings {
    Settings {
        open_first: Duration::from_millis(100),
        open_longest: Duration::from_millis(400),
        deadline: Duration::from_secs(5),
        probe_interval: Duration::from_millis(50),
        probe_timeout: Duration::from_millis(500),
        ..Settings::default()
    }
}

pub(crate) async fn identify(channel: &MeshChannel) -> Result<String, Status> {
    let request = IdentifyRequest {
        image_path: "obama.jpg".to_owned(),
    };
    let response = IdentifyClient::new(channel.clone()).identify(request).await?;
    Ok(response.into_inner().image_name)
}

/// Waits for the target to be available, or not; fails the test if it does not come within ten seconds.
pub(crate) async fn availability(target: &Target, available: bool) {
    reached(target, |now| now.is_available() == available).await;
}

/// Waits for a probe to open the door of the target's circuit.
pub(crate) async fn half_open(target: &Target) {
    reached(target, |now| now.one_at_a_time).await;
}

/// Waits for the target's availability to have a reason with these words.
pub(crate) async fn reason(target: &Target, words: &str) {
    reached(target, |now| now.reason.contains(words)).await;
}

pub(crate) async fn reached(target: &Target, mut condition: impl FnMut(&Availability) -> bool) {
    let mut watch = target.availability();
    let waiting = async move { watch.wait_for(|now| condition(now)).await.map(|_| ()) };
    match tokio::time::timeout(Duration::from_secs(10), waiting).await {
        Ok(reached) => reached.expect("the target lives"),
        Err(_) => panic!("not reached: {:?}", target.snapshot()),
    }
}

/// Waits for so many calls to have begun at the server.
pub(crate) async fn begun(server: &Server, calls: usize) {
    let mut begun = server.recognizer.begun.subscribe();
    let waiting = begun.wait_for(|begun| *begun >= calls);
    tokio::time::timeout(Duration::from_secs(10), waiting)
        .await
        .expect("the calls begin")
        .unwrap();
}

/// An address where nobody listens: it was free a moment ago.
pub(crate) async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}
