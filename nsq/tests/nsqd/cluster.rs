//! Several nsqds and nsqlookupds, of which one of each goes away and comes back under load.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nsq::{Consumer, Message, RunConfig};
use futures::future::join_all;
use safelight_testkit::{NsqLookupd, Nsqd, NsqdOptions, require_nsq};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::support::*;

const MAX_IN_FLIGHT: u32 = 10;
/// Answers that came further apart say nothing about one moment.
const ONE_MOMENT: Duration = Duration::from_millis(60);

/// What an nsqd says of the channel's consumers: RDY and in flight, summed up. `None` while it is down.
async fn ready_and_in_flight(nsqd: SocketAddr) -> Option<(u64, u64)> {
    let mut stream = TcpStream::connect(nsqd).await.ok()?;
    let request = b"GET /stats?format=json&topic=images HTTP/1.0\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let stats: Value = serde_json::from_slice(&answer[body..]).ok()?;
    let mut sums = (0, 0);
    let all = |list: &Value| list.as_array().cloned().unwrap_or_default();
    for channel in all(&stats["topics"])
        .iter()
        .flat_map(|topic| all(&topic["channels"]))
    {
        for client in all(&channel["clients"]) {
            sums.0 += client["ready_count"].as_u64().unwrap_or(0);
            sums.1 += client["in_flight_count"].as_u64().unwrap_or(0);
        }
    }
    Some(sums)
}

/// Asks all at once, over and over, for the most that is in flight at one moment.
async fn watch_in_flight(nsqds: Vec<SocketAddr>, most: Arc<AtomicU64>, samples: Arc<AtomicU64>) {
    loop {
        let asked = Instant::now();
        let answers = join_all(nsqds.iter().map(|&nsqd| ready_and_in_flight(nsqd))).await;
        if asked.elapsed() < ONE_MOMENT {
            let in_flight = answers
                .into_iter()
                .flatten()
                .map(|(_, in_flight)| in_flight)
                .sum();
            most.fetch_max(in_flight, Ordering::Relaxed);
            samples.fetch_add(1, Ordering::Relaxed);
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until these have RDYs of these sums; tells how long that took.
async fn until_ready(nsqds: &[(SocketAddr, u64)]) -> Duration {
    let begun = Instant::now();
    eventually("RDY is shared out again", || async {
        let answers = join_all(nsqds.iter().map(|&(nsqd, _)| ready_and_in_flight(nsqd))).await;
        let ready = answers.iter().map(|answer| answer.map(|(ready, _)| ready));
        ready.eq(nsqds.iter().map(|&(_, expected)| Some(expected)))
    })
    .await;
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumption_goes_on_while_one_nsqd_and_one_nsqlookupd_of_two_go_and_come_back() {
    require_nsq!();
    let mut lookupds = [NsqLookupd::start().await, NsqLookupd::start().await];
    let known_to = lookupds.iter().map(NsqLookupd::tcp_address).collect();
    let options = NsqdOptions {
        lookupd: known_to,
        ..NsqdOptions::default()
    };
    let mut nsqds = vec![Nsqd::start(options.clone()).await, Nsqd::start(options).await];
    for nsqd in &nsqds {
        nsqd.create_channel("images", "ch").await;
    }
    let http: Vec<SocketAddr> = nsqds.iter().map(Nsqd::http_address).collect();

    let mut config = consumer_config();
    config.lookupd = lookupds
        .iter()
        .map(|lookupd| lookupd.http_address().to_string())
        .collect();
    config.lookupd_interval = Duration::from_millis(300);
    config.lookupd_http.timeout = Duration::from_millis(500);
    config.max_in_flight = MAX_IN_FLIGHT;
    // What nsqd has for acting on a lowered RDY: here it shares two cores with everything else.
    config.settling_time = Duration::from_millis(300);
    let consumer = Consumer::start(config).unwrap();
    let control = consumer.control();
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let seeing = seen.clone();
    let running = tokio::spawn(consumer.run_with(
        RunConfig::new(MAX_IN_FLIGHT as usize),
        move |message: Arc<Message>| {
            let seeing = seeing.clone();
            async move {
                // Work, so that messages are in flight at all.
                sleep(Duration::from_millis(3)).await;
                let body = String::from_utf8(message.body().to_vec())?;
                seeing.lock().unwrap().insert(body);
                Ok(())
            }
        },
    ));

    let (most, samples) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let watching = tokio::spawn(watch_in_flight(http.clone(), most.clone(), samples.clone()));
    let enough = Arc::new(AtomicBool::new(false));
    let publishing = nsqds.iter().enumerate().map(|(index, nsqd)| {
        let producer = producer(nsqd.tcp_address()).with_timeout(LIMIT);
        let enough = enough.clone();
        tokio::spawn(async move {
            let mut acknowledged = BTreeSet::new();
            let topic = topic();
            for number in 0.. {
                if enough.load(Ordering::Relaxed) {
                    break;
                }
                let bodies: Vec<String> = (0..10).map(|part| format!("{index}/{number}/{part}")).collect();
                let batch = bodies.iter().cloned().map(Into::into).collect();
                // Twice is allowed, lost is not.
                if producer.publish_many(&topic, batch).await.is_ok() {
                    acknowledged.extend(bodies);
                }
                sleep(Duration::from_millis(5)).await;
            }
            acknowledged
        })
    });
    let publishing: Vec<_> = publishing.collect();

    let full = u64::from(MAX_IN_FLIGHT);
    let half = full / 2;
    until_ready(&[(http[0], half), (http[1], half)]).await;
    let mut slowest = Duration::ZERO;
    for round in 0..3 {
        let gone = round % 2;
        lookupds[gone].kill();
        nsqds[gone].terminate().await;
        let settled = until_ready(&[(http[1 - gone], full)]).await;
        slowest = slowest.max(settled);
        let finished = control.stats().finished;
        eventually("consumption goes on with one nsqd", || async {
            control.stats().finished > finished + 200
        })
        .await;

        nsqds[gone].restart().await;
        let mut state = control.watch_state();
        let connected = state.wait_for(|state| state.connected == 2);
        timeout(LIMIT, connected)
            .await
            .expect("it is found again")
            .unwrap();
        let settled = until_ready(&[(http[0], half), (http[1], half)]).await;
        slowest = slowest.max(settled);
        lookupds[gone].restart().await;
        let finished = control.stats().finished;
        eventually("consumption goes on with both", || async {
            control.stats().finished > finished + 200
        })
        .await;
    }
    assert!(
        slowest < Duration::from_secs(1),
        "shared out again after {slowest:?}"
    );

    enough.store(true, Ordering::Relaxed);
    let acknowledged = join_all(publishing).await.into_iter().flat_map(Result::unwrap);
    let acknowledged: BTreeSet<String> = acknowledged.collect();
    eventually("all that was acknowledged is consumed", || async {
        acknowledged.is_subset(&seen.lock().unwrap())
    })
    .await;
    watching.abort();
    let drained = control.drain(LIMIT).await;
    assert_eq!(drained.abandoned, 0);
    assert_eq!(running.await.unwrap().unwrap(), drained);
    let (most, samples) = (most.load(Ordering::Relaxed), samples.load(Ordering::Relaxed));
    assert!((half..=full).contains(&most), "{most} in flight, {full} allowed");
    assert!(samples > 50, "only {samples} samples");
    println!(
        "{} acknowledged, at most {most} in flight in {samples} samples, shared out again within {slowest:?}",
        acknowledged.len()
    );
}
