//! Playing a scenario with a client.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Uri;
use http::uri::PathAndQuery;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tonic_prost::ProstCodec;

use crate::ledger::{Ended, Ledger};
use crate::network::Network;
use crate::scenario::Scenario;
use crate::server::{Server, exponential};
use crate::strategy::{Client, DEADLINE, METHODS, Strategy};

/// A call that is to be made.
struct Arrival {
    at: Duration,
    path: &'static str,
}

pub(crate) const SERVERS: u8 = 3;
const SEED: u64 = 1;

/// Plays every scenario with every strategy, on all processors. The results are in the order of the scenarios, and in
/// each of the strategies.
pub(crate) fn run_all(scenarios: &[Scenario]) -> Vec<Vec<Ledger>> {
    let strategies = Strategy::ALL.len();
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(scenario) = scenarios.get(number / strategies) else {
                        return;
                    };
                    let ledger = run(scenario, Strategy::ALL[number % strategies]);
                    done.lock().unwrap().push((number, ledger));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(number, _)| *number);
    let mut ledgers = done.into_iter().map(|(_, ledger)| ledger);
    scenarios
        .iter()
        .map(|_| ledgers.by_ref().take(strategies).collect())
        .collect()
}

/// Plays a scenario from beginning to end. Time is tokio's, paused: it moves on when there is nothing to do.
pub(crate) fn run(scenario: &Scenario, strategy: Strategy) -> Ledger {
    safelight_mesh::simulation::seed(SEED);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(play(scenario, strategy))
}

async fn play(scenario: &Scenario, strategy: Strategy) -> Ledger {
    let start = Instant::now();
    let network = Network::new(SERVERS);
    let servers: Vec<Server> = (0..SERVERS.into())
        .map(|host| Server::start(host, &network))
        .collect();
    let client = strategy.client(&network);
    let limit = (!strategy.keeps_deadlines()).then_some(DEADLINE);
    let mut calls = JoinSet::new();
    let script = async {
        for step in &scenario.script {
            sleep_until(start + step.at).await;
            step.take(&servers, &network);
        }
    };
    let traffic = async {
        for arrival in arrivals(scenario) {
            sleep_until(start + arrival.at).await;
            calls.spawn(call(client.clone(), arrival.path, limit));
        }
    };
    tokio::join!(script, traffic);
    let ended = calls.join_all().await;
    Ledger::new(ended, servers.iter().map(Server::load).collect(), scenario.length)
}

/// The same for all strategies.
fn arrivals(scenario: &Scenario) -> Vec<Arrival> {
    let mut chance = SmallRng::seed_from_u64(SEED);
    let mut times = Vec::new();
    let mut at = Duration::ZERO;
    loop {
        at += Duration::from_secs_f64(exponential(&mut chance) / scenario.rate);
        if at >= scenario.length {
            break;
        }
        times.push(at);
    }
    if let Some((at, calls)) = scenario.spike {
        times.extend(std::iter::repeat_n(at, calls));
    }
    times.sort();
    let mut arrival = |at| Arrival {
        at,
        path: METHODS[chance.random_range(0..METHODS.len())],
    };
    times.into_iter().map(&mut arrival).collect()
}

async fn call(client: Client, path: &'static str, limit: Option<Duration>) -> Ended {
    let began = Instant::now();
    let mut grpc = tonic::client::Grpc::with_origin(client, Uri::from_static("http://store"));
    let mut request = tonic::Request::new(());
    request.set_timeout(DEADLINE);
    let answer = async {
        grpc.ready().await.ok()?;
        let codec: ProstCodec<(), ()> = ProstCodec::default();
        grpc.unary(request, PathAndQuery::from_static(path), codec)
            .await
            .ok()
    };
    let answer = match limit {
        Some(limit) => timeout(limit, answer).await.ok().flatten(),
        None => answer.await,
    };
    Ended {
        well: answer.is_some(),
        took: began.elapsed(),
    }
}
