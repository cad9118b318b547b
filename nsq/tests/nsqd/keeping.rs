//! What a connection outlives, and what belongs to somebody else.

use std::sync::Arc;
use std::time::Duration;

use async_nsq::{Consumer, Dialer, HttpConfig, LookupdHttp, ProducerState};
use bytes::Bytes;
use safelight_testkit::{NsqLookupd, Nsqd, NsqdOptions, Proxy, require_nsq};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::support::*;

/// The shortest interval of heartbeats that nsqd takes.
const HEARTBEAT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_late_answer_harms_nobody_who_holds_the_message_over_another_connection() {
    require_nsq!();
    let nsqd = impatient_nsqd(Duration::from_secs(1)).await;
    let producer = producer(nsqd.tcp_address());
    let mut slow = consumer(&nsqd);
    producer.publish(&topic(), "handed on").await.unwrap();
    let late = next(&mut slow).await;
    slow.control().pause();
    let mut quick = consumer(&nsqd);
    let held = next(&mut quick).await;
    assert_eq!((held.attempts(), held.id()), (2, late.id()));

    late.finish().unwrap();
    eventually("the refusal is counted", || async {
        slow.control().stats().refused_answers == 1
    })
    .await;
    assert_eq!(
        nsqd.channel("images", "ch").await.in_flight,
        1,
        "it is held still"
    );
    timeout(LIMIT, held.finish_confirmed()).await.unwrap().unwrap();
    assert_eq!(slow.control().stats().connection_failures, 0);
    let stats = nsqd.channel("images", "ch").await;
    assert_eq!((stats.depth, stats.in_flight), (0, 0));
}

#[tokio::test]
async fn a_requeue_for_longer_than_nsqd_allows_comes_after_the_longest_that_it_does() {
    require_nsq!();
    let nsqd = nsqd_with(&["--max-req-timeout=300ms"]).await;
    let producer = producer(nsqd.tcp_address());
    let mut consumer = consumer(&nsqd);
    producer.publish(&topic(), "put off").await.unwrap();
    let first = next(&mut consumer).await;
    let requeued = Instant::now();
    first.requeue(Duration::from_secs(3600)).unwrap();
    let again = next(&mut consumer).await;
    assert!(
        requeued.elapsed() >= Duration::from_millis(300),
        "{:?}",
        requeued.elapsed()
    );
    assert_eq!(again.attempts(), 2);
    again.finish().unwrap();
    assert_eq!(consumer.control().stats().connection_failures, 0);
}

#[tokio::test]
async fn handlers_that_are_slow_lose_no_connection_though_nsqd_may_send_nothing_but_heartbeats() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let mut config = consumer_config();
    config.connection.heartbeat_interval = HEARTBEAT;
    config.max_in_flight = 2;
    config.nsqd = vec![nsqd.tcp_address().to_string()];
    let consumer = Consumer::start(config).unwrap();
    let control = consumer.control();
    let release = Arc::new(Semaphore::new(0));
    let waiting = release.clone();
    let running = tokio::spawn(consumer.run(2, move |_| {
        let waiting = waiting.clone();
        async move {
            let _permit = waiting.acquire().await;
            Ok(())
        }
    }));
    let bodies = ["a", "b", "c"].map(Bytes::from).to_vec();
    producer.publish_many(&topic(), bodies).await.unwrap();
    eventually("as many are handled as may be", || async {
        control.in_flight() == 2
    })
    .await;
    let mut state = control.watch_state();
    let lost = timeout(4 * HEARTBEAT, state.wait_for(|state| state.connected == 0)).await;
    assert!(lost.is_err(), "the connection was lost");
    release.add_permits(3);
    eventually("all are finished", || async {
        let stats = nsqd.channel("images", "ch").await;
        (stats.depth, stats.in_flight, stats.timed_out, stats.requeued) == (0, 0, 0, 0)
    })
    .await;
    control.drain(LIMIT).await;
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_producer_keeps_its_one_connection() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    for heartbeats in [true, false] {
        let proxy = Proxy::start(nsqd.tcp_address()).await;
        let mut config = producer_config(proxy.address());
        config.connection.heartbeat_interval = HEARTBEAT;
        config.connection.heartbeats = heartbeats;
        let producer = async_nsq::Producer::start(config).unwrap();
        until_connected(&producer).await;
        let mut state = producer.watch_state();
        let lost = state.wait_for(|state| !matches!(state, ProducerState::Connected));
        let lost = timeout(4 * HEARTBEAT, lost).await;
        assert!(lost.is_err(), "heartbeats: {heartbeats}: the connection was lost");
        producer.publish(&topic(), "still there").await.unwrap();
        assert_eq!(proxy.accepted(), 1, "heartbeats: {heartbeats}");
    }
}

#[tokio::test]
async fn an_nsqd_whose_topic_was_tombstoned_is_not_connected() {
    require_nsq!();
    let lookupd = NsqLookupd::start().await;
    let http = LookupdHttp::new(&lookupd.http_address().to_string(), HttpConfig::default()).unwrap();
    let known_to = NsqdOptions {
        lookupd: vec![lookupd.tcp_address()],
        ..NsqdOptions::default()
    };
    let [buried, alive] = [Nsqd::start(known_to.clone()).await, Nsqd::start(known_to).await];
    for nsqd in [&buried, &alive] {
        nsqd.create_channel("images", "ch").await;
    }
    eventually("both are known", || async {
        http.lookup(&topic())
            .await
            .unwrap()
            .is_some_and(|found| found.producers.len() == 2)
    })
    .await;
    http.tombstone(&topic(), &buried.http_address().to_string())
        .await
        .unwrap();
    let mut config = consumer_config();
    config.lookupd = vec![lookupd.http_address().to_string()];
    let mut consumer = Consumer::start(config).unwrap();
    until_consuming_from(&consumer, 1).await;
    for nsqd in [&buried, &alive] {
        let here = nsqd.tcp_address().to_string();
        producer(&here).publish(&topic(), here).await.unwrap();
    }
    let message = next(&mut consumer).await;
    assert_eq!(message.body(), alive.tcp_address().to_string().as_bytes());
    message.finish().unwrap();
    assert_eq!(consumer.control().state().known, 1);
}

#[tokio::test]
async fn a_connection_can_be_made_from_a_local_address_of_ones_choice() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = producer_config(listener.local_addr().unwrap());
    config.connection.dialer = Some(Dialer::new(|address| async move {
        let peer = tokio::net::lookup_host(address).await?.next();
        let socket = TcpSocket::new_v4()?;
        socket.bind("127.0.0.2:0".parse().map_err(std::io::Error::other)?)?;
        socket.connect(peer.ok_or(std::io::ErrorKind::NotFound)?).await
    }));
    let _producer = async_nsq::Producer::start(config).unwrap();
    let (_socket, peer) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    assert_eq!(peer.ip().to_string(), "127.0.0.2");
}

#[tokio::test]
async fn an_nsqd_that_is_named_twice_has_one_connection_of_a_consumer() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let proxy = Proxy::start(nsqd.tcp_address()).await;
    let mut config = consumer_config();
    config.nsqd = vec![proxy.address().to_string(); 2];
    let mut consumer = Consumer::start(config).unwrap();
    producer(nsqd.tcp_address())
        .publish(&topic(), "once")
        .await
        .unwrap();
    next(&mut consumer).await.finish().unwrap();
    assert!(timeout(HEARTBEAT / 4, consumer.next()).await.is_err());
    assert_eq!((proxy.accepted(), consumer.control().state().known), (1, 1));
}
