//! `make bench-mesh`: calls through the mesh beside calls through tonic's own channels, in one run on loopback.
//!
//! The servers run in a process of their own. The ways are measured in turn, several rounds each, so that what else
//! the machine does meets all of them alike. Each result is a line `name value unit`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use http::{Request as HttpRequest, Response as HttpResponse};
use safelight_mesh::{BoxError, MeshChannel, Target, TargetBuilder};
use safelight_proto::facerecog::identify_client::IdentifyClient;
use safelight_proto::facerecog::identify_server::{Identify, IdentifyServer};
use safelight_proto::facerecog::{IdentifyRequest, IdentifyResponse};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tower::Service;

const IN_FLIGHT: usize = 64;
const ROUNDS: usize = 21;
const ROUND: Duration = Duration::from_millis(400);
const MANY: usize = 1_000;
const FEW: usize = 10;

/// Counts the bytes that live.
struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: hands everything on to the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Answering;

#[tonic::async_trait]
impl Identify for Answering {
    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        let image_name = request.into_inner().image_path;
        Ok(Response::new(IdentifyResponse { image_name }))
    }
}

/// Servers in a process of their own, ended with this.
struct Servers {
    process: Child,
    addresses: Vec<SocketAddr>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--serve") {
        return serve(arguments[at + 1].parse().unwrap());
    }
    // `cargo bench` runs this with --bench; `cargo test --benches` without: then there is nothing to do.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run());
}

#[tokio::main]
async fn serve(count: usize) {
    let mut serving = Vec::new();
    let mut addresses = String::new();
    for _ in 0..count {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses += &format!("{}\n", listener.local_addr().unwrap());
        serving.push(
            tonic::transport::Server::builder()
                .add_service(IdentifyServer::new(Answering))
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
    }
    std::io::stdout().write_all(addresses.as_bytes()).unwrap();
    join_all(serving).await;
}

impl Servers {
    fn start(count: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--serve", &count.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let addresses = lines
            .take(count)
            .map(|line| line.unwrap().parse().unwrap())
            .collect();
        Self { process, addresses }
    }

    fn target(&self, count: usize) -> TargetBuilder {
        let addresses: Vec<_> = self.addresses[..count].iter().map(ToString::to_string).collect();
        Target::builder("bench", format!("static:///{}", addresses.join(",")))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

async fn ready(target: &Target, count: usize) {
    let is_ready = || {
        let endpoints = target.snapshot().endpoints;
        endpoints
            .iter()
            .filter(|endpoint| endpoint.standing == "ready")
            .count()
            == count
    };
    while !is_ready() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn run() {
    let servers = Servers::start(3);
    let uri = |address: &SocketAddr| format!("http://{address}");
    let bare = Endpoint::new(uri(&servers.addresses[0]))
        .unwrap()
        .connect()
        .await
        .unwrap();
    // As the mesh keeps its connections, and as whoever cares for silent peers keeps a channel.
    let kept = Endpoint::new(uri(&servers.addresses[0]))
        .unwrap()
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .connect()
        .await
        .unwrap();
    let endpoints = servers
        .addresses
        .iter()
        .map(|address| Endpoint::new(uri(address)).unwrap());
    let balanced = Channel::balance_list(endpoints);
    let one = servers.target(1).connect().unwrap();
    let three = servers.target(3).connect().unwrap();
    ready(&one, 1).await;
    ready(&three, 3).await;

    let mut rates = [const { Vec::new() }; 4];
    let mut medians = [const { Vec::new() }; 4];
    // Round by round, since the machine is faster in one than in another.
    let mut ratios = Vec::new();
    for round in 0..=ROUNDS {
        let measured = [
            (throughput(bare.clone()).await, latency(bare.clone()).await),
            (throughput(one.channel()).await, latency(one.channel()).await),
            (throughput(three.channel()).await, latency(three.channel()).await),
            (
                throughput(balanced.clone()).await,
                latency(balanced.clone()).await,
            ),
        ];
        // The first round warms everything up.
        if round > 0 {
            ratios.push(measured[1].0 / measured[0].0);
            for (way, (rate, median)) in measured.into_iter().enumerate() {
                rates[way].push(rate);
                medians[way].push(median);
            }
        }
    }
    let names = [
        "tonic_channel",
        "mesh_one_endpoint",
        "mesh_three_endpoints",
        "tonic_balance_list_three",
    ];
    for (way, name) in names.iter().enumerate() {
        tell(&format!("{name}_calls"), median(&mut rates[way]), "calls/s");
        tell(&format!("{name}_median"), median(&mut medians[way]), "us");
    }
    let ratio = median(&mut ratios);
    let [bare_alone, kept_alone, ours_alone] = alone(bare.clone(), kept.clone(), one.channel()).await;
    tell("tonic_channel_alone", bare_alone, "us");
    tell("tonic_channel_with_keep_alive_alone", kept_alone, "us");
    tell("mesh_one_endpoint_alone", ours_alone, "us");
    let added = ours_alone - bare_alone;
    drop((one, three, bare, kept, balanced, servers));

    memory().await;
    choice().await;
    let breaker = breaker();
    println!("mesh: throughput_ratio {ratio:.2} added_us {added:.1} breaker_ns {breaker:.1}");
}

fn tell(name: &str, value: f64, unit: &str) {
    println!("{name} {value:.1} {unit}");
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn request() -> IdentifyRequest {
    IdentifyRequest {
        image_path: "obama.jpg".to_owned(),
    }
}

/// Calls a second at 64 in flight.
async fn throughput<S>(channel: S) -> f64
where
    S: Service<HttpRequest<Body>, Response = HttpResponse<Body>> + Clone + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>> + std::fmt::Debug + Send,
    S::Future: Send,
{
    let done = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let callers = (0..IN_FLIGHT).map(|_| {
        let (mut client, done) = (IdentifyClient::new(channel.clone()), done.clone());
        tokio::spawn(async move {
            while begun.elapsed() < ROUND {
                client.identify(request()).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

/// The median of a call at 1 in flight, in microseconds.
async fn latency<S>(channel: S) -> f64
where
    S: Service<HttpRequest<Body>, Response = HttpResponse<Body>> + Clone + Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>> + std::fmt::Debug + Send,
    S::Future: Send,
{
    let mut client = IdentifyClient::new(channel);
    let calls = tokio::spawn(async move {
        let mut took = Vec::with_capacity(700);
        for _ in 0..700 {
            let begun = Instant::now();
            client.identify(request()).await.unwrap();
            took.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        took
    });
    median(&mut calls.await.unwrap())
}

/// The medians of a single call, in microseconds. The ways take turns often, so that whatever else moves the machine
/// moves all of them, but not call by call: a connection works on when its call has been answered, and would do so in
/// the time of another way's call.
async fn alone(bare: Channel, kept: Channel, ours: MeshChannel) -> [f64; 3] {
    const TURNS: usize = 400;
    let (mut bare, mut kept) = (IdentifyClient::new(bare), IdentifyClient::new(kept));
    let mut ours = IdentifyClient::new(ours);
    let calls = tokio::spawn(async move {
        let mut took = [const { Vec::new() }; 3];
        for _ in 0..TURNS {
            turn(&mut bare, &mut took[0]).await;
            turn(&mut kept, &mut took[1]).await;
            turn(&mut ours, &mut took[2]).await;
        }
        took
    });
    calls.await.unwrap().map(|mut took| median(&mut took))
}

/// Some calls of one way, one after the other.
async fn turn<S>(client: &mut IdentifyClient<S>, took: &mut Vec<f64>)
where
    S: GrpcService<Body>,
    S::Error: Into<BoxError>,
    S::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <S::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
{
    const CALLS: usize = 50;
    for _ in 0..CALLS {
        let begun = Instant::now();
        client.identify(request()).await.unwrap();
        took.push(begun.elapsed().as_secs_f64() * 1e6);
    }
}

/// What an endpoint takes above its connection: live bytes, beside as many connections of hyper's alone.
async fn memory() {
    let servers = Servers::start(MANY);
    let before = LIVE.load(Ordering::Relaxed);
    let mut connections = Vec::new();
    for address in &servers.addresses {
        connections.push(connection(*address).await);
    }
    let own = (LIVE.load(Ordering::Relaxed) - before) as f64 / MANY as f64;
    drop(connections);
    drop(servers);

    let servers = Servers::start(MANY);
    let before = LIVE.load(Ordering::Relaxed);
    let target = servers.target(MANY).connect().unwrap();
    ready(&target, MANY).await;
    let with = (LIVE.load(Ordering::Relaxed) - before) as f64 / MANY as f64;
    tell("connection_alone", own / 1024.0, "KB");
    tell("endpoint_above_its_connection", (with - own) / 1024.0, "KB");
}

type Connected = hyper::client::conn::http2::SendRequest<Body>;

async fn connection(address: SocketAddr) -> Connected {
    use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, driver) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(driver);
    sender
}

/// Nanoseconds to choose an endpoint, of few and of many.
async fn choice() {
    let servers = Servers::start(MANY);
    let few = servers.target(FEW).connect().unwrap();
    let many = servers.target(MANY).connect().unwrap();
    ready(&few, FEW).await;
    ready(&many, MANY).await;
    let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_few.push(choices(&few));
        of_many.push(choices(&many));
    }
    let (few, many) = (median(&mut of_few), median(&mut of_many));
    tell(&format!("choice_of_{FEW}"), few, "ns");
    tell(&format!("choice_of_{MANY}"), many, "ns");
    tell("choice_of_many_by_few", many / few, "ratio");
}

fn choices(target: &Target) -> f64 {
    const CHOICES: usize = 100_000;
    let begun = Instant::now();
    for _ in 0..CHOICES {
        assert!(black_box(target.choose_and_let_go()));
    }
    begun.elapsed().as_secs_f64() * 1e9 / CHOICES as f64
}

/// The breaker alone on its closed path; benches/breaker.rs has it beside others.
fn breaker() -> f64 {
    use safelight_mesh::breaker::{Circuit, Outcome, Policy};
    const CALLS: u32 = 2_000_000;
    let circuit = Circuit::new("bench", Policy::default());
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..CALLS {
                black_box(&circuit).admit().unwrap().end(Outcome::Success, None);
            }
            begun.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
        })
        .collect();
    median(&mut rounds)
}
