//! A simulated server behind real gRPC: some workers, a queue before them, and faults by a script.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use crate::network::Network;

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Manner {
    Well,
    /// Everything takes so many times as long.
    Slow(f64),
    /// This part of the calls is answered `UNAVAILABLE` at once.
    Flaky(f64),
    /// Every call of this method is answered `INTERNAL` at once.
    Without(&'static str),
}

/// A server. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Server {
    host: usize,
    network: Network,
    workers: Arc<Semaphore>,
    state: Arc<Mutex<State>>,
    /// Counts its stops.
    stops: watch::Sender<u64>,
}

struct State {
    manner: Manner,
    chance: SmallRng,
    load: Load,
}

/// What a server has had to do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Load {
    pub(crate) calls: usize,
    /// Calls that it has, in its queue or at work.
    pub(crate) in_flight: usize,
    /// The most that it has had.
    pub(crate) peak: usize,
    /// The time that its workers have worked, all together.
    pub(crate) busy: Duration,
}

/// A call that the server has. Dropped, it is over.
struct Guest {
    state: Arc<Mutex<State>>,
    worked_from: Option<Instant>,
}

/// Calls that a server works on at a time.
pub(crate) const WORKERS: usize = 4;
/// The way there and back.
const WAY: Duration = Duration::from_millis(1);
/// What a call takes at least, and what it takes more on average, exponentially distributed.
const LEAST: Duration = Duration::from_millis(10);
const MORE: Duration = Duration::from_millis(10);

// === impl Server ===

impl Server {
    pub(crate) fn start(host: usize, network: &Network) -> Self {
        let state = State {
            manner: Manner::Well,
            chance: SmallRng::seed_from_u64(host as u64),
            load: Load::default(),
        };
        let server = Self {
            host,
            network: network.clone(),
            workers: Arc::new(Semaphore::new(WORKERS)),
            state: Arc::new(Mutex::new(state)),
            stops: watch::channel(0).0,
        };
        server.listen();
        server
    }

    pub(crate) fn set(&self, manner: Manner) {
        self.state.lock().unwrap().manner = manner;
    }

    /// Ends it in good order: no connections are taken any more, GOAWAY, and what runs is finished.
    pub(crate) fn stop(&self) {
        self.network.refuse(self.host);
        self.stops.send_modify(|stops| *stops += 1);
    }

    /// Starts it again.
    pub(crate) fn listen(&self) {
        let incoming = UnboundedReceiverStream::new(self.network.listen(self.host));
        let mut stops = self.stops.subscribe();
        let (_, health) = tonic_health::server::health_reporter();
        let serving = tonic::transport::Server::builder()
            .add_service(health)
            .add_service(self.clone())
            .serve_with_incoming_shutdown(incoming, async move {
                stops.changed().await.ok();
            });
        tokio::spawn(async move { serving.await.unwrap() });
    }

    pub(crate) fn load(&self) -> Load {
        self.state.lock().unwrap().load.clone()
    }

    async fn work(self, path: String) -> Result<tonic::Response<()>, Status> {
        let mut guest = Guest::enter(&self.state);
        sleep(WAY).await;
        let factor = {
            let mut state = self.state.lock().unwrap();
            let manner = state.manner;
            match manner {
                Manner::Well => 1.0,
                Manner::Slow(times) => times,
                Manner::Flaky(part) if state.chance.random_bool(part) => {
                    return Err(Status::unavailable("by the script"));
                }
                Manner::Without(method) if path == method => {
                    return Err(Status::internal("by the script"));
                }
                Manner::Flaky(_) | Manner::Without(_) => 1.0,
            }
        };
        let _worker = self.workers.acquire().await.unwrap();
        let time = LEAST + MORE.mul_f64(exponential(&mut self.state.lock().unwrap().chance));
        guest.worked_from = Some(Instant::now());
        sleep(time.mul_f64(factor)).await;
        Ok(tonic::Response::new(()))
    }
}

impl NamedService for Server {
    const NAME: &'static str = "scenario.Store";
}

impl Service<Request<Body>> for Server {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (server, path) = (self.clone(), request.uri().path().to_owned());
        Box::pin(async move {
            let codec: ProstCodec<(), ()> = ProstCodec::default();
            let work = service_fn(|_: tonic::Request<()>| server.clone().work(path.clone()));
            Ok(tonic::server::Grpc::new(codec).unary(work, request).await)
        })
    }
}

/// Exponentially distributed around 1.
pub(crate) fn exponential(chance: &mut SmallRng) -> f64 {
    -(1.0 - chance.random::<f64>()).ln()
}

// === impl Guest ===

impl Guest {
    fn enter(state: &Arc<Mutex<State>>) -> Self {
        let load = &mut state.lock().unwrap().load;
        load.calls += 1;
        load.in_flight += 1;
        load.peak = load.peak.max(load.in_flight);
        Self {
            state: state.clone(),
            worked_from: None,
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let load = &mut self.state.lock().unwrap().load;
        load.in_flight -= 1;
        if let Some(from) = self.worked_from {
            load.busy += from.elapsed();
        }
    }
}
