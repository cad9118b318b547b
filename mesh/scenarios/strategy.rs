//! The clients that are compared.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use safelight_mesh::simulation::{Dialer, Wire};
use safelight_mesh::{BoxError, Methods, Probe, Settings, Target};
use tonic::Status;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, Constant, Load, PeakEwma};
use tower::util::BoxCloneService;
use tower::{Service, ServiceExt, service_fn};

use crate::network::Network;
use crate::tonic_link::TonicLink;

/// A way to spread calls over servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Ours, which knows nothing of the methods that are called.
    Ours,
    /// Ours, told that the methods may be repeated.
    OursRepeating,
    /// The same, and a call that is late is tried at another endpoint beside.
    OursHedging,
    /// As `Channel::balance_list` of tonic is made.
    BalanceList,
    /// A tonic channel for each server, taken in turn.
    RoundRobin,
    /// tower's power of two choices over its peak-sensitive average of latencies.
    PeakEwma,
}

pub(crate) type Client = BoxCloneService<Request<Body>, Response<Body>, Status>;

/// What a call may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
/// The methods that are called, alternately at random.
pub(crate) const METHODS: [&str; 2] = ["/scenario.Store/Read", "/scenario.Store/Write"];
/// What about one call in fifty exceeds while all is well.
const HEDGE_AFTER: Duration = Duration::from_millis(50);
/// As tonic has it.
const BUFFER: usize = 1_024;
/// As Linkerd's proxy has them, for which this load was written.
const FIRST_LATENCY: Duration = Duration::from_millis(30);
const DECAY: Duration = Duration::from_secs(10);

/// Chance for tower's choices.
struct Seeded(SmallRng);

// === impl Strategy ===

impl Strategy {
    pub(crate) const ALL: [Self; 6] = [
        Self::Ours,
        Self::OursRepeating,
        Self::OursHedging,
        Self::BalanceList,
        Self::RoundRobin,
        Self::PeakEwma,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::OursRepeating => "ours, idempotent",
            Self::OursHedging => "ours, idempotent, hedged",
            Self::BalanceList => "tonic `balance_list`",
            Self::RoundRobin => "round robin",
            Self::PeakEwma => "tower p2c, peak EWMA",
        }
    }

    /// Whether it ends a call at its deadline by itself, however it hangs.
    pub(crate) fn keeps_deadlines(self) -> bool {
        matches!(self, Self::Ours | Self::OursRepeating | Self::OursHedging)
    }

    pub(crate) fn client(self, network: &Network) -> Client {
        match self {
            Self::Ours => ours(network, Methods::default(), None),
            Self::OursRepeating => ours(network, repeatable(), None),
            Self::OursHedging => ours(network, repeatable(), Some(HEDGE_AFTER)),
            Self::BalanceList => balanced(network, |link| Constant::new(link, 0)),
            Self::RoundRobin => round_robin(network),
            Self::PeakEwma => balanced(network, |link| {
                let decay = DECAY.as_nanos() as f64;
                PeakEwma::new(link, FIRST_LATENCY, decay, CompleteOnResponse::default())
            }),
        }
    }
}

fn repeatable() -> Methods {
    METHODS
        .iter()
        .fold(Methods::default(), |methods, path| methods.idempotent(*path))
}

fn ours(network: &Network, methods: Methods, hedge_after: Option<Duration>) -> Client {
    let dialer = {
        let network = network.clone();
        Dialer::new(move |address| {
            let (network, address) = (network.clone(), address.to_owned());
            Box::pin(async move { Ok(Box::new(network.dial(&address).await?) as Box<dyn Wire>) })
        })
    };
    let settings = Settings {
        deadline: DEADLINE,
        hedge_after,
        ..Settings::default()
    };
    let target = Target::builder("store", format!("static:///{}", network.addresses().join(",")))
        .settings(settings)
        .probe(Probe::GrpcHealth {
            service: String::new(),
        })
        .methods(methods)
        .dialer(dialer)
        .connect()
        .unwrap();
    BoxCloneService::new(target.channel())
}

/// What is inside a balanced channel of tonic: tower's balancer over connections that are made when they are polled,
/// behind a buffer with one worker. tonic gives all of them the same load.
fn balanced<S, F>(network: &Network, load: F) -> Client
where
    F: Fn(TonicLink) -> S,
    S: Service<Request<Body>, Response = Response<Body>, Error = BoxError> + Load + Send + 'static,
    S::Metric: std::fmt::Debug + Send,
    S::Future: Send,
{
    let addresses = network.addresses();
    let links: Vec<S> = addresses
        .into_iter()
        .map(|address| load(TonicLink::new(network.clone(), address)))
        .collect();
    let balance = Balance::from_rng(ServiceList::new(links), Seeded(SmallRng::seed_from_u64(0)));
    BoxCloneService::new(Buffer::new(balance, BUFFER).map_err(Status::from_error))
}

fn round_robin(network: &Network) -> Client {
    let channel = |address: String| {
        let network = network.clone();
        let connector = service_fn(move |uri: Uri| {
            let network = network.clone();
            async move {
                let address = uri.authority().map(ToString::to_string).unwrap_or_default();
                network.dial(&address).await.map(TokioIo::new)
            }
        });
        Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_with_connector_lazy(connector)
    };
    let channels: Arc<[Channel]> = network.addresses().into_iter().map(channel).collect();
    let turn = Arc::new(AtomicUsize::new(0));
    BoxCloneService::new(service_fn(move |request| {
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        let channel = channels[turn % channels.len()].clone();
        async move {
            channel
                .oneshot(request)
                .await
                .map_err(|error| Status::from_error(error.into()))
        }
    }))
}

// === impl Seeded ===

impl tower::util::rng::Rng for Seeded {
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}
