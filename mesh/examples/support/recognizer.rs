//! A real gRPC server on loopback that behaves as it is told.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use safelight_mesh::server::Server;
use safelight_proto::facerecog::identify_server::{Identify, IdentifyServer};
use safelight_proto::facerecog::{IdentifyRequest, IdentifyResponse};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::{Request, Response, Status};

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Manner {
    /// After 5 ms.
    Well,
    /// After so long, and every second time with `UNAVAILABLE`.
    Strained(Duration),
}

/// A server, or the place where one was. Dropped, it is killed.
pub(crate) struct Recognizer {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    manner: watch::Sender<Manner>,
    ready: watch::Sender<bool>,
    calls: watch::Sender<usize>,
    runtime: Option<Runtime>,
}

/// What answers.
struct Answers {
    manner: watch::Receiver<Manner>,
    calls: watch::Sender<usize>,
}

/// Starts one server for each name.
pub(crate) async fn recognizers<const N: usize>(
    names: [&'static str; N],
) -> Result<Vec<Recognizer>, Box<dyn Error>> {
    let mut started = Vec::with_capacity(N);
    for name in names {
        let mut recognizer = Recognizer::new(name).await?;
        recognizer.start().await?;
        started.push(recognizer);
    }
    Ok(started)
}

/// The address of a target that consists of these.
pub(crate) fn addresses(recognizers: &[Recognizer]) -> String {
    let each: Vec<String> = recognizers
        .iter()
        .map(|recognizer| recognizer.address.to_string())
        .collect();
    format!("static:///{}", each.join(","))
}

// === impl Recognizer ===

impl Recognizer {
    /// A place for a server, at a free port. Nobody listens there yet.
    pub(crate) async fn new(name: &'static str) -> Result<Self, Box<dyn Error>> {
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        Ok(Self {
            name,
            address,
            manner: watch::channel(Manner::Well).0,
            ready: watch::channel(true).0,
            calls: watch::channel(0).0,
            runtime: None,
        })
    }

    /// Starts the server, on a runtime of its own, so that it can go down with all its connections in one stroke.
    pub(crate) async fn start(&mut self) -> Result<(), Box<dyn Error>> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let address = self.address;
        let listener = match runtime.spawn(async move { listen(address) }).await? {
            Ok(listener) => listener,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error.into());
            }
        };
        let answers = Answers {
            manner: self.manner.subscribe(),
            calls: self.calls.clone(),
        };
        let server = Server::builder(self.name)
            .health(self.ready.subscribe())
            .add_service(IdentifyServer::new(answers))
            .build();
        match server {
            Ok(server) => drop(runtime.spawn(server.serve(listener, std::future::pending()))),
            Err(error) => {
                runtime.shutdown_background();
                return Err(error.into());
            }
        }
        self.runtime = Some(runtime);
        Ok(())
    }

    /// Kills it in the middle of whatever it does. From then on its port refuses connections.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Puts a listener in the place of a killed server: it takes connections, and never says a word. Until it is
    /// dropped.
    pub(crate) fn fall_silent(&self) -> std::io::Result<TcpListener> {
        listen(self.address)
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    /// What its health service says.
    pub(crate) fn say_ready(&self, ready: bool) {
        self.ready.send_replace(ready);
    }

    /// How many calls came in since the last time somebody asked.
    pub(crate) fn new_calls(&self) -> usize {
        self.calls.send_replace(0)
    }

    /// Waits until it works on a call.
    pub(crate) async fn is_called(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.calls.subscribe().changed().await;
    }
}

impl Drop for Recognizer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(64)
}

// === impl Answers ===

#[tonic::async_trait]
impl Identify for Answers {
    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        let mut call = 0;
        self.calls.send_modify(|calls| {
            call = *calls;
            *calls += 1;
        });
        let manner = *self.manner.borrow();
        match manner {
            Manner::Well => sleep(Duration::from_millis(5)).await,
            Manner::Strained(time) => {
                sleep(time).await;
                if call.is_multiple_of(2) {
                    return Err(Status::unavailable("the disk is too slow"));
                }
            }
        }
        let image_name = request.into_inner().image_path;
        Ok(Response::new(IdentifyResponse { image_name }))
    }
}
