//! No more messages are unanswered than asked for, by nsqd's own count.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nsq::Consumer;
use bytes::Bytes;
use futures::future::join_all;
use safelight_testkit::{Nsqd, NsqdOptions, require_nsq};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::support::*;

async fn nsqds_with_backlog(count: usize, backlog: usize) -> Vec<Nsqd> {
    let mut nsqds = Vec::new();
    for index in 0..count {
        let nsqd = Nsqd::start(NsqdOptions::default()).await;
        nsqd.create_channel("images", "ch").await;
        let batch = bodies(&format!("{index}/"), backlog)
            .into_iter()
            .map(Bytes::from)
            .collect();
        producer(nsqd.tcp_address())
            .publish_many(&topic(), batch)
            .await
            .unwrap();
        nsqds.push(nsqd);
    }
    nsqds
}

async fn in_flight(nsqds: &[Nsqd]) -> u64 {
    join_all(nsqds.iter().map(|nsqd| nsqd.channel("images", "ch")))
        .await
        .iter()
        .map(|stats| stats.in_flight)
        .sum()
}

/// What was in flight at one moment.
#[derive(Default)]
struct Seen {
    most: AtomicU64,
    moments: AtomicU64,
}

impl Seen {
    /// Waits until a moment that lies behind this call was looked at.
    async fn once_more(&self) {
        // The next moment may have begun before the call.
        let enough = self.moments.load(Ordering::Relaxed) + 2;
        eventually("what is in flight is looked at", || async {
            self.moments.load(Ordering::Relaxed) >= enough
        })
        .await;
    }
}

/// Asks all of them over and over. What they answer counts only where all answer the same twice in a row: between the
/// two, that is what was in flight. One round of answers alone may count a slot twice that moved on meanwhile.
fn watch_in_flight(nsqds: Arc<Vec<Nsqd>>) -> (Arc<Seen>, JoinHandle<()>) {
    let seen = Arc::new(Seen::default());
    let telling = seen.clone();
    let watching = tokio::spawn(async move {
        let mut before = Vec::new();
        loop {
            let stats = join_all(nsqds.iter().map(|nsqd| nsqd.channel("images", "ch"))).await;
            let now: Vec<_> = stats
                .iter()
                .map(|stats| (stats.depth, stats.in_flight, stats.requeued))
                .collect();
            if now == before {
                let in_flight = now.iter().map(|&(_, in_flight, _)| in_flight).sum();
                telling.most.fetch_max(in_flight, Ordering::Relaxed);
                telling.moments.fetch_add(1, Ordering::Relaxed);
            }
            before = now;
        }
    });
    (seen, watching)
}

fn consumer_of(nsqds: &[Nsqd], max_in_flight: u32) -> Consumer {
    let mut config = consumer_config();
    config.nsqd = nsqds.iter().map(|nsqd| nsqd.tcp_address().to_string()).collect();
    config.max_in_flight = max_in_flight;
    Consumer::start(config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn max_in_flight_is_reached_and_never_passed_while_connections_come_and_go() {
    require_nsq!();
    const MAX: u64 = 10;
    let nsqds = Arc::new(nsqds_with_backlog(3, 4000).await);
    let (seen, watching) = watch_in_flight(nsqds.clone());
    // One after the other, so that shares have to move while messages are in flight.
    let mut config = consumer_config();
    config.max_in_flight = MAX as u32;
    let mut proxies = Vec::new();
    for nsqd in nsqds.iter() {
        proxies.push(safelight_testkit::Proxy::start(nsqd.tcp_address()).await);
    }
    config.nsqd = proxies.iter().map(|proxy| proxy.address().to_string()).collect();
    proxies[1].cut();
    proxies[2].cut();
    let mut consumer = Consumer::start(config).unwrap();

    // All slots are taken before each change, and the messages are answered only then.
    let mut held = Vec::new();
    for step in 0..3 {
        while held.len() < MAX as usize {
            held.push(next(&mut consumer).await);
        }
        match step {
            0 => proxies[1].heal(),
            1 => proxies[2].heal(),
            _ => {}
        }
        until_consuming_from(&consumer, (step + 2).min(3)).await;
        seen.once_more().await;
        for message in held.drain(..) {
            message.finish().unwrap();
        }
        for _ in 0..500 {
            next(&mut consumer).await.finish().unwrap();
        }
    }
    while held.len() < MAX as usize {
        held.push(next(&mut consumer).await);
    }
    eventually("all slots are used", || async { in_flight(&nsqds).await == MAX }).await;
    let shares = join_all(nsqds.iter().map(|nsqd| nsqd.channel("images", "ch"))).await;
    let mut ready: Vec<u64> = shares.iter().flat_map(|stats| stats.ready.clone()).collect();
    ready.sort_unstable();
    assert_eq!(ready, [3, 3, 4], "the remainder is spread");
    seen.once_more().await;
    watching.abort();
    assert_eq!(seen.most.load(Ordering::Relaxed), MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_more_nsqds_than_slots_every_one_gets_its_turn_and_the_limit_holds() {
    require_nsq!();
    let nsqds = Arc::new(nsqds_with_backlog(5, 3).await);
    let (seen, watching) = watch_in_flight(nsqds.clone());
    let mut consumer = consumer_of(&nsqds, 2);
    let mut expected: BTreeSet<String> = (0..5).flat_map(|index| bodies(&format!("{index}/"), 3)).collect();
    let begun = Instant::now();
    // Two at a time, held until both were seen in flight. A slot each is what two nsqds have, so the last one's messages
    // come one at a time.
    while !expected.is_empty() {
        let mut held = Vec::new();
        let left: BTreeSet<_> = expected.iter().map(|body| body.split('/').next()).collect();
        while held.len() < left.len().min(2) {
            held.push(next(&mut consumer).await);
        }
        seen.once_more().await;
        for message in held {
            let body = String::from_utf8(message.body().to_vec()).unwrap();
            assert!(expected.remove(&body), "{body} came twice");
            message.finish().unwrap();
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    watching.abort();
    assert_eq!(seen.most.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_share_of_a_lost_connection_goes_to_the_others() {
    require_nsq!();
    let mut nsqds = vec![
        Nsqd::start(NsqdOptions::default()).await,
        Nsqd::start(NsqdOptions::default()).await,
    ];
    let mut consumer = consumer_of(&nsqds, 6);
    until_consuming_from(&consumer, 2).await;
    eventually("both have half", || async {
        let stats = join_all(nsqds.iter().map(|nsqd| nsqd.channel("images", "ch"))).await;
        stats.iter().all(|stats| stats.ready == [3])
    })
    .await;
    nsqds[0].kill();
    eventually("the other has all", || async {
        nsqds[1].channel("images", "ch").await.ready == [6]
    })
    .await;
    producer(nsqds[1].tcp_address())
        .publish(&topic(), "m0")
        .await
        .unwrap();
    assert_eq!(finish_all(&mut consumer, bodies("m", 1)).await, 0);

    nsqds[0].restart().await;
    eventually("both have half again", || async {
        let stats = join_all(nsqds.iter().map(|nsqd| nsqd.channel("images", "ch"))).await;
        stats.iter().all(|stats| stats.ready == [3])
    })
    .await;
}

#[tokio::test]
async fn a_changed_limit_takes_effect_while_running() {
    require_nsq!();
    let nsqds = nsqds_with_backlog(1, 50).await;
    let mut consumer = consumer_of(&nsqds, 2);
    let control = consumer.control();
    eventually("two are in flight", || async { in_flight(&nsqds).await == 2 }).await;
    control.set_max_in_flight(7);
    eventually("seven are in flight", || async { in_flight(&nsqds).await == 7 }).await;
    control.set_max_in_flight(1);
    eventually("nsqd knows", || async {
        nsqds[0].channel("images", "ch").await.ready == [1]
    })
    .await;
    let held: Vec<_> = [next(&mut consumer).await, next(&mut consumer).await].into();
    for message in held {
        message.finish().unwrap();
    }
    // Five are left unanswered, so no more come.
    for _ in 0..5 {
        next(&mut consumer)
            .await
            .requeue(Duration::from_secs(3600))
            .unwrap();
    }
    eventually("one is in flight", || async { in_flight(&nsqds).await == 1 }).await;
    assert_eq!(timeout(LIMIT, consumer.close(LIMIT)).await.unwrap().abandoned, 0);
}
