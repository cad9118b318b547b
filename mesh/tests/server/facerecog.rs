//! A service for tests, behind the server that is tested.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use safelight_mesh::server::{DrainReport, Server, ServerBuilder, ServerSettings};
use safelight_proto::FILE_DESCRIPTOR_SET;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use safelight_proto::facerecog::identify_server::{Identify, IdentifyServer};
use safelight_proto::facerecog::{IdentifyRequest, IdentifyResponse};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(10);

type Handler = dyn Fn(Request<IdentifyRequest>) -> BoxFuture<'static, Result<String, Status>> + Send + Sync;

/// Does with a call what it is told, and counts the work that is under way.
#[derive(Clone)]
pub(crate) struct Recognizer {
    handler: Arc<Handler>,
    work: Work,
}

/// The work under way, and all that was ever begun.
#[derive(Clone)]
pub(crate) struct Work {
    running: watch::Sender<usize>,
    begun: Arc<AtomicUsize>,
}

struct Working(Work);

/// A client that leaves deadlines to the server: tonic's own channel ends a call itself when its `grpc-timeout` is
/// over, and the server's word would never be heard.
#[derive(Clone)]
pub(crate) struct Bare {
    connection: http2::SendRequest<Body>,
    origin: http::Uri,
}

/// A server that is serving.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    pub(crate) work: Work,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<DrainReport>,
}

// === impl Recognizer ===

impl Recognizer {
    pub(crate) fn new<F>(handler: impl Fn(Request<IdentifyRequest>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String, Status>> + Send + 'static,
    {
        Self {
            handler: Arc::new(move |request| Box::pin(handler(request))),
            work: Work {
                running: watch::channel(0).0,
                begun: Arc::default(),
            },
        }
    }

    /// Answers with what it was asked.
    pub(crate) fn echo() -> Self {
        Self::new(async |request| Ok(request.into_inner().image_path))
    }

    /// Never answers.
    pub(crate) fn stuck() -> Self {
        Self::new(async |_| std::future::pending().await)
    }
}

#[tonic::async_trait]
impl Identify for Recognizer {
    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        self.work.running.send_modify(|running| *running += 1);
        self.work.begun.fetch_add(1, Ordering::SeqCst);
        let _working = Working(self.work.clone());
        let image_name = (self.handler)(request).await?;
        Ok(Response::new(IdentifyResponse { image_name }))
    }
}

// === impl Work ===

impl Work {
    pub(crate) fn running(&self) -> usize {
        *self.running.borrow()
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    /// Waits until so many handlers are at work.
    pub(crate) async fn reaches(&self, count: usize) {
        let mut running = self.running.subscribe();
        within(running.wait_for(|running| *running == count))
            .await
            .unwrap();
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

// === impl Serving ===

impl Serving {
    pub(crate) async fn start(recognizer: Recognizer) -> Self {
        Self::start_with(recognizer, ServerSettings::default()).await
    }

    pub(crate) async fn start_with(recognizer: Recognizer, settings: ServerSettings) -> Self {
        Self::start_as(recognizer, |builder| builder.settings(settings)).await
    }

    pub(crate) async fn start_as(
        recognizer: Recognizer,
        change: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let work = recognizer.work.clone();
        let builder = Server::builder("recognizer")
            .reflection(&[FILE_DESCRIPTOR_SET])
            .add_service(IdentifyServer::new(recognizer));
        let server = change(builder).build().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(server.serve(listener, async {
            stopped.await.ok();
        }));
        Self {
            address,
            work,
            stop: Some(stop),
            ended,
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn bare(&self) -> Bare {
        self.try_bare().await.unwrap()
    }

    /// `None` where the server closes the connection.
    pub(crate) async fn try_bare(&self) -> Option<Bare> {
        self.bare_over(TcpStream::connect(self.address).await.unwrap())
            .await
    }

    pub(crate) async fn bare_over(&self, socket: TcpStream) -> Option<Bare> {
        socket.set_nodelay(true).unwrap();
        let builder = http2::Builder::new(TokioExecutor::new());
        let (connection, driver) = builder.handshake(TokioIo::new(socket)).await.ok()?;
        tokio::spawn(driver);
        Some(Bare {
            connection,
            origin: format!("http://{}", self.address).parse().unwrap(),
        })
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn ended(mut self) -> DrainReport {
        within(&mut self.ended).await.unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.ended.abort();
    }
}

// === impl Bare ===

impl Bare {
    pub(crate) async fn identify_within(&self, timeout: &str) -> Result<String, Status> {
        let mut request = Request::new(IdentifyRequest::default());
        request
            .metadata_mut()
            .insert("grpc-timeout", timeout.parse().unwrap());
        let mut client = IdentifyClient::with_origin(self.clone(), self.origin.clone());
        let answer = within(client.identify(request)).await?;
        Ok(answer.into_inner().image_name)
    }
}

impl tower::Service<http::Request<Body>> for Bare {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connection.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.connection.send_request(request))
    }
}

pub(crate) async fn identify(channel: &Channel) -> Result<String, Status> {
    ask(channel, Request::new(IdentifyRequest::default())).await
}

pub(crate) async fn ask(channel: &Channel, request: Request<IdentifyRequest>) -> Result<String, Status> {
    let answer = within(IdentifyClient::new(channel.clone()).identify(request)).await?;
    Ok(answer.into_inner().image_name)
}

/// Fails the test where something does not come at all.
pub(crate) async fn within<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(LONG, future)
        .await
        .expect("it comes in time")
}
