//! One of three servers falls ill under steady load, and gets well again.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::load::{Load, all_of, between, hasty, p99, ready, target};
use crate::proxy::{Proxy, Way};
use crate::server::{Manner, Running, Server};

/// These tests measure, so they do not run side by side.
pub(crate) static ALONE: Mutex<()> = Mutex::const_new(());

const CALLERS: usize = 12;

enum Fault {
    Stopped,
    Refusing,
    Frozen,
    Slow,
    HalfUnavailable,
    Cutting,
}

struct Three {
    servers: Vec<Option<Running>>,
    proxies: Vec<Proxy>,
}

impl Three {
    async fn start() -> Self {
        let (mut servers, mut proxies) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let running = Server::new().start().await;
            proxies.push(Proxy::to(running.server.address).await);
            servers.push(Some(running));
        }
        Self { servers, proxies }
    }

    fn ill(&self) -> &Server {
        &self.servers[0].as_ref().unwrap().server
    }
}

async fn befalls(fault: Fault) {
    let _alone = ALONE.lock().await;
    let mut three = Three::start().await;
    let address = all_of(three.proxies.iter().map(|proxy| proxy.address));
    let target = target(&address, hasty());
    ready(&target, 3).await;
    let load = Load::start(&target, CALLERS);
    load.for_a(Duration::from_millis(300)).await;
    let healthy_from = load.for_a(Duration::from_millis(1_500)).await;

    let fault_at = Instant::now();
    let ill = three.ill().clone();
    let way = three.proxies[0].way.clone();
    match fault {
        Fault::Stopped => {
            three.servers[0].take().unwrap().kill();
        }
        Fault::Refusing => drop(way.send_replace(Way::Refusing)),
        Fault::Frozen => drop(way.send_replace(Way::Frozen)),
        Fault::Slow => drop(ill.manner.send_replace(Manner::Slow(Duration::from_secs(2)))),
        Fault::HalfUnavailable => drop(ill.manner.send_replace(Manner::HalfUnavailable)),
        Fault::Cutting => drop(way.send_replace(Way::Cutting(Duration::from_millis(50)))),
    }
    load.for_a(Duration::from_secs(1)).await;
    let judged_from = load.for_a(Duration::from_secs(3)).await;

    let well_at = Instant::now();
    match fault {
        Fault::Stopped => three.servers[0] = Some(ill.clone().start().await),
        _ => {
            way.send_replace(Way::Open);
            ill.manner.send_replace(Manner::Well);
        }
    }
    load.for_a(Duration::from_secs(5)).await;
    let (ill_before, all_before) = (ill.calls(), total(&three));
    load.for_a(Duration::from_millis(1_500)).await;
    let share = (ill.calls() - ill_before) as f64 / (total(&three) - all_before) as f64;

    let calls = load.end();
    let healthy = between(&calls, healthy_from, fault_at);
    let judged = between(&calls, judged_from, well_at);
    let failed: Vec<_> = judged.iter().filter_map(|call| call.error.as_ref()).collect();
    let succeeded = 1.0 - failed.len() as f64 / judged.len() as f64;
    assert!(
        succeeded >= 0.999,
        "{:.2} % of {} calls succeeded: {:?}",
        succeeded * 100.0,
        judged.len(),
        failed.first()
    );
    let (usual, now) = (p99(&healthy), p99(&judged));
    assert!(now <= 2 * usual, "p99 is {now:?}, and was {usual:?}");
    assert!(
        share >= 0.25,
        "of three, it has {share:.3} of the calls 5 s after it is well"
    );
}

fn total(three: &Three) -> usize {
    three
        .servers
        .iter()
        .flatten()
        .map(|running| running.server.calls())
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_does_not_hurt() {
    befalls(Fault::Stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_connections_does_not_hurt() {
    befalls(Fault::Refusing).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_calls_and_never_answers_does_not_hurt() {
    befalls(Fault::Frozen).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_after_two_seconds_does_not_hurt() {
    befalls(Fault::Slow).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_unavailable_half_of_the_time_does_not_hurt() {
    befalls(Fault::HalfUnavailable).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cuts_connections_in_the_middle_of_calls_does_not_hurt() {
    befalls(Fault::Cutting).await;
}
