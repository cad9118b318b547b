//! What a breaker adds to a call that goes well, beside two others, measured in one run.
//!
//! `make bench-mesh`. Each line is a name, nanoseconds a call and the unit: the
//! median of several rounds, in which the candidates take turns. With two threads it is what one call takes a
//! thread while the other thread does the same on the same circuit: run it where nothing else runs, for two threads
//! that take turns on one processor do not get in each other's way. `bare` breakers are asked and told by hand;
//! `layer` is the whole tower layer around a service that answers at once. The last line is the bar.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Barrier;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use failsafe::CircuitBreaker as _;
use http::{Request, Response};
use http_body_util::Empty;
use safelight_mesh::breaker::{BreakerLayer, Circuit, Outcome, Policy, Rate, Span};
use tower::{Layer, Service};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;

const ROUNDS: usize = 41;
// Short enough that a round often passes between two turns of whatever else the machine runs.
const CALLS: u32 = 50_000;

/// A name and how to spend `CALLS` calls on each of so many threads; gives the time a call.
type Candidate<'a> = (&'static str, Box<dyn Fn(usize) -> f64 + 'a>);

fn main() {
    // `cargo test --all-targets` runs benches, too; only `cargo bench` passes this.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut breaker_ns = f64::NAN;
    for threads in [1, 2] {
        for (group, candidates) in [("bare", bare()), ("layer", layers())] {
            for (name, nanos) in medians(&candidates, threads) {
                println!("{group}_{name}_{threads}_threads {nanos:.1} ns");
                if (group, name, threads) == ("bare", "mesh", 1) {
                    breaker_ns = nanos;
                }
            }
        }
    }
    println!("breaker_ns {breaker_ns:.1}");
}

fn bare() -> Vec<Candidate<'static>> {
    let circuit = Circuit::new("bench", Policy::default());
    let (entered, timed) = (circuit.clone(), circuit.clone());
    let windowed = Circuit::new(
        "bench",
        Policy {
            failure_rate: Some(Rate {
                threshold: 0.5,
                minimum_calls: 20,
                over: Span::Calls(100),
            }),
            ..Policy::default()
        },
    );
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let metered = metrics::with_local_recorder(&recorder, || Circuit::new("bench", Policy::default()));
    let backoff = failsafe::backoff::exponential(Duration::from_secs(1), Duration::from_secs(60));
    let policy = failsafe::failure_policy::consecutive_failures(5, backoff);
    let failsafe = failsafe::Config::new().failure_policy(policy).build();
    vec![
        (
            "mesh",
            Box::new(move |threads| {
                on_threads(threads, || {
                    for _ in 0..CALLS {
                        let permit = black_box(circuit.admit().unwrap());
                        permit.end(black_box(Outcome::Success), None);
                    }
                })
            }),
        ),
        (
            "mesh_by_reference",
            Box::new(move |threads| {
                on_threads(threads, || {
                    for _ in 0..CALLS {
                        let permit = black_box(entered.enter().unwrap());
                        permit.end(black_box(Outcome::Success), None);
                    }
                })
            }),
        ),
        (
            "mesh_timed",
            Box::new(move |threads| {
                on_threads(threads, || {
                    for _ in 0..CALLS {
                        let now = tokio::time::Instant::now();
                        let permit = black_box(timed.admit_at(now).unwrap());
                        permit.end(black_box(Outcome::Success), None);
                    }
                })
            }),
        ),
        (
            "mesh_with_metrics",
            Box::new(move |threads| {
                on_threads(threads, || {
                    for _ in 0..CALLS {
                        let permit = black_box(metered.enter().unwrap());
                        permit.end(black_box(Outcome::Success), None);
                    }
                })
            }),
        ),
        (
            "mesh_with_window",
            Box::new(move |threads| {
                on_threads(threads, || {
                    for _ in 0..CALLS {
                        let permit = black_box(windowed.admit().unwrap());
                        permit.end(black_box(Outcome::Success), None);
                    }
                })
            }),
        ),
        (
            "failsafe",
            Box::new(move |threads| {
                on_threads(threads, || {
                    for _ in 0..CALLS {
                        black_box(&failsafe)
                            .call(|| Ok::<u32, Infallible>(black_box(1)))
                            .unwrap();
                    }
                })
            }),
        ),
    ]
}

fn layers() -> Vec<Candidate<'static>> {
    let mesh = BreakerLayer::new(Circuit::new("bench", Policy::default())).layer(Answers);
    let resilience = CircuitBreakerLayer::builder()
        .consecutive_failures(5)
        .build()
        .unwrap()
        .layer_fn(Answers);
    vec![
        ("none", Box::new(|threads| through(threads, Answers))),
        ("mesh", Box::new(move |threads| through(threads, mesh.clone()))),
        (
            "tower_resilience",
            Box::new(move |threads| through(threads, resilience.clone())),
        ),
    ]
}

/// The median of each candidate, who take turns so that what else the machine does falls on all alike.
fn medians(candidates: &[Candidate<'_>], threads: usize) -> Vec<(&'static str, f64)> {
    let mut times = vec![Vec::new(); candidates.len()];
    for _ in 0..ROUNDS {
        for ((_, run), times) in candidates.iter().zip(&mut times) {
            times.push(run(threads));
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    candidates
        .iter()
        .zip(&mut times)
        .map(|((name, _), times)| (*name, median(times)))
        .collect()
}

/// Nanoseconds a call, where each thread makes `CALLS`; the slowest thread counts.
fn on_threads(threads: usize, work: impl Fn() + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let timed = || {
        barrier.wait();
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let longest = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(timed)).collect();
        let own = timed();
        others
            .into_iter()
            .map(|other| other.join().unwrap())
            .fold(own, Duration::max)
    });
    longest.as_nanos() as f64 / f64::from(CALLS)
}

/// Calls through a layer, each thread with a clone of the service, as clients of tower do.
fn through<S>(threads: usize, service: S) -> f64
where
    S: Service<Request<()>> + Clone + Sync,
    S::Error: std::fmt::Debug,
{
    on_threads(threads, || {
        let mut service = service.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // Without tokio's budget: a lock of tokio's would give way every 128 calls.
        runtime.block_on(tokio::task::unconstrained(async {
            for _ in 0..CALLS {
                std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
                let response = service.call(black_box(Request::new(()))).await;
                drop(black_box(response.unwrap()));
            }
        }));
    })
}

/// Answers every request at once, with nothing.
#[derive(Clone, Copy)]
struct Answers;

impl Service<Request<()>> for Answers {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        std::future::ready(Ok(Response::new(Empty::new())))
    }
}
