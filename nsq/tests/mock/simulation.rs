//! A consumer of several nsqds that come, go, pause and lag, by the whim of a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nsq::testing::{MockNetwork, MockNsqd};
use async_nsq::{BackoffPolicy, Consumer, Failure, Message, RunConfig};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep, timeout};

use super::support::*;

const TICK: Duration = Duration::from_millis(1);

struct Simulation {
    rng: StdRng,
    nsqds: Vec<MockNsqd>,
    max_in_flight: usize,
    published: BTreeSet<String>,
}

impl Simulation {
    fn in_flight(&self) -> usize {
        self.nsqds.iter().map(MockNsqd::in_flight).sum()
    }

    /// Lets time pass, and looks at every moment of it.
    async fn pass(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep(TICK).await;
            let in_flight = self.in_flight();
            assert!(
                in_flight <= self.max_in_flight,
                "{in_flight} in flight of {}",
                self.max_in_flight
            );
        }
    }

    async fn step(&mut self, consumer: &async_nsq::ConsumerControl) {
        let nsqd = self.nsqds[self.rng.random_range(0..self.nsqds.len())].clone();
        match self.rng.random_range(0..12) {
            0 => nsqd.disconnect(),
            1 => {
                nsqd.refuse_connections(true);
                nsqd.disconnect();
            }
            2 | 3 => nsqd.refuse_connections(false),
            4 => consumer.pause(),
            5 | 6 => consumer.resume(),
            _ => {
                for _ in 0..self.rng.random_range(1..10) {
                    let body = format!("m{}", self.published.len());
                    nsqd.publish(body.clone());
                    self.published.insert(body);
                }
            }
        }
        let time = Duration::from_millis(self.rng.random_range(0..300));
        self.pass(time).await;
    }
}

/// Handles everything, some of it only at the second attempt, and tells what it has handled.
fn handle(consumer: Consumer, seed: u64) -> Arc<Mutex<BTreeSet<String>>> {
    let handled = Arc::new(Mutex::new(BTreeSet::new()));
    let handling = handled.clone();
    let rng = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
    let mut config = RunConfig::new(4);
    config.requeue_delay = Duration::from_millis(50);
    tokio::spawn(consumer.run_with(config, move |message: Arc<Message>| {
        let handling = handling.clone();
        let (time, fails) = {
            let mut rng = rng.lock().unwrap();
            (rng.random_range(0..150), rng.random_range(0..10) == 0)
        };
        async move {
            sleep(Duration::from_millis(time)).await;
            if fails {
                return Err(Failure::new("a bad moment"));
            }
            let body = String::from_utf8(message.body().to_vec())?;
            handling.lock().unwrap().insert(body);
            Ok(())
        }
    }));
    handled
}

async fn simulate(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let network = MockNetwork::new();
    // Both ways together stay below the settling time.
    network.set_latency(Duration::from_millis(rng.random_range(0..50)));
    let addresses: Vec<String> = (0..rng.random_range(1..7))
        .map(|index| format!("nsqd{index}:1"))
        .collect();
    let nsqds = addresses.iter().map(|address| network.nsqd(address)).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut config = config(&network, &addresses);
    config.max_in_flight = rng.random_range(1..9);
    config.connection.reconnect_longest = Duration::from_millis(500);
    config.backoff = match rng.random_range(0..3) {
        0 => BackoffPolicy::Off,
        1 => BackoffPolicy::Exponential {
            unit: Duration::from_millis(100),
            longest: Duration::from_secs(1),
        },
        _ => BackoffPolicy::FullJitter {
            unit: Duration::from_millis(100),
            longest: Duration::from_secs(1),
        },
    };
    let max_in_flight = config.max_in_flight as usize;
    let consumer = Consumer::start(config).unwrap();
    let control = consumer.control();
    let handled = handle(consumer, seed);
    let mut simulation = Simulation {
        rng,
        nsqds,
        max_in_flight,
        published: BTreeSet::new(),
    };
    for _ in 0..150 {
        simulation.step(&control).await;
    }

    control.resume();
    for nsqd in &simulation.nsqds {
        nsqd.refuse_connections(false);
    }
    let all_handled = async {
        while *handled.lock().unwrap() != simulation.published {
            simulation.pass(TICK).await;
        }
    };
    if timeout(LONG, all_handled).await.is_err() {
        let depths: Vec<usize> = simulation.nsqds.iter().map(MockNsqd::depth).collect();
        let (state, connections) = (control.state(), control.connections());
        panic!("seed {seed}: some are never handled: {state:?}, {connections:?}, waiting {depths:?}");
    }
    // With nothing left to do, a drain is quick, and nothing is left behind.
    let drained = timeout(Duration::from_secs(5), control.drain(LONG)).await;
    assert_eq!(drained.unwrap().abandoned, 0, "seed {seed}");
    assert_eq!(simulation.in_flight(), 0, "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_no_more_are_in_flight_than_allowed_and_all_are_handled_in_the_end() {
    for seed in 0..20 {
        println!("seed {seed}");
        simulate(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn with_many_more_nsqds_than_slots_everyones_message_comes_within_a_few_turns() {
    let network = MockNetwork::new();
    network.set_latency(Duration::from_millis(5));
    let addresses: Vec<String> = (0..20).map(|index| format!("nsqd{index}:1")).collect();
    let nsqds: BTreeMap<&String, MockNsqd> = addresses
        .iter()
        .map(|address| (address, network.nsqd(address)))
        .collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut config = config(&network, &addresses);
    config.max_in_flight = 2;
    let mut consumer = Consumer::start(config).unwrap();
    let control = consumer.control();
    timeout(
        LONG,
        control.watch_state().wait_for(|state| state.connected == 20),
    )
    .await
    .unwrap()
    .unwrap();
    let published = Instant::now();
    for nsqd in nsqds.values() {
        nsqd.publish("rare");
    }
    for _ in 0..20 {
        next(&mut consumer).await.finish().unwrap();
    }
    // Turns of 100 ms, and 125 ms between two of the same slot: 20 nsqds at 2 slots.
    assert!(
        published.elapsed() < Duration::from_secs(4),
        "{:?}",
        published.elapsed()
    );
    assert!(
        control
            .connections()
            .iter()
            .all(|connection| connection.received == 1)
    );
}
