//! What is asked of nsqd, and what it grants.

use std::time::{Duration, Instant};

use async_nsq::{ConnectionConfig, ConnectionError, Consumer, ErrorCode};
use futures::future::join_all;
use safelight_testkit::require_nsq;
use serde_json::json;

use crate::raw::RawClient;
use crate::support::*;

/// The code with which an nsqd started so refuses this.
async fn refusal(flags: &[&str], change: impl FnOnce(&mut ConnectionConfig)) -> ErrorCode {
    let nsqd = nsqd(flags).await;
    let mut config = ConnectionConfig::default();
    change(&mut config);
    match config.probe(&nsqd.tcp_address().to_string()).await {
        Err(ConnectionError::Server(error)) => error.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn everything_asked_for_is_granted_and_shows_in_nsqds_statistics() {
    require_nsq!();
    let nsqd = nsqd(&["--max-rdy-count=77", "--max-msg-timeout=2m"]).await;
    let mut config = ConnectionConfig::default();
    config.client_id = "client one".into();
    config.hostname = "host.test".into();
    config.user_agent = "tests/1".into();
    config.msg_timeout = Some(Duration::from_secs(5));
    config.sample_rate = Some(42);
    config.output_buffer_size = Some(1024);
    config.output_buffer_timeout = Duration::from_millis(500);
    config.topology_region = Some("eu".into());
    config.topology_zone = Some("eu-1".into());
    let negotiated = config.probe(&nsqd.tcp_address().to_string()).await.unwrap();
    assert_eq!(negotiated.max_rdy_count, 77);
    assert_eq!(negotiated.msg_timeout, Duration::from_secs(5));
    assert_eq!(negotiated.max_msg_timeout, Duration::from_secs(120));
    assert_eq!(negotiated.sample_rate, Some(42));
    assert_eq!(negotiated.output_buffer_size, Some(1024));
    assert_eq!(negotiated.output_buffer_timeout, Some(Duration::from_millis(500)));
    assert!(negotiated.version.is_some() && !negotiated.auth_required && !negotiated.tls);

    let _consumer = consumer(nsqd.tcp_address(), &config);
    eventually("the consumer is known", || async {
        !client_of(&nsqd).await.is_null()
    })
    .await;
    let client = client_of(&nsqd).await;
    assert_eq!(client["client_id"], "client one");
    assert_eq!(client["hostname"], "host.test");
    assert_eq!(client["user_agent"], "tests/1");
    assert_eq!(client["sample_rate"], 42);
}

#[tokio::test]
async fn heartbeats_over_nsqds_limit_are_refused_and_at_the_limit_taken() {
    require_nsq!();
    let flags = ["--max-heartbeat-interval=30s"];
    let interval = |seconds| move |config: &mut ConnectionConfig| config.heartbeat_interval = seconds;
    let over = refusal(&flags, interval(Duration::from_millis(30_001))).await;
    assert_eq!(over, ErrorCode::BadBody);

    let nsqd = nsqd(&flags).await;
    let mut config = ConnectionConfig::default();
    config.heartbeat_interval = Duration::from_secs(30);
    config.probe(&nsqd.tcp_address().to_string()).await.unwrap();
}

#[tokio::test]
async fn heartbeats_below_a_second_are_refused_by_nsqd_as_they_are_by_us() {
    require_nsq!();
    let interval = Duration::from_millis(100);
    let code = refusal(&[], |config| config.heartbeat_interval = interval).await;
    assert_eq!(code, ErrorCode::BadBody);
    let mut config = ConnectionConfig::default();
    config.heartbeat_interval = interval;
    assert_eq!(config.validate().unwrap_err().field, "heartbeat_interval");
}

#[tokio::test]
async fn output_buffers_are_taken_within_nsqds_bounds_and_refused_outside() {
    require_nsq!();
    let millis = Duration::from_millis;
    let nsqd = nsqd(&["--max-output-buffer-size=65536", "--max-output-buffer-timeout=1s"]).await;
    let address = nsqd.tcp_address().to_string();
    for (size, timeout) in [
        (None, millis(25)),
        (Some(64), millis(25)),
        (Some(65_536), millis(1000)),
        (None, Duration::ZERO),
    ] {
        let mut config = ConnectionConfig::default();
        (config.output_buffer_size, config.output_buffer_timeout) = (size, timeout);
        let negotiated = config.probe(&address).await.unwrap();
        assert_eq!(negotiated.output_buffer_timeout, Some(timeout));
        // One byte is nsqd's way to say none.
        let expected = if timeout.is_zero() {
            1
        } else {
            size.unwrap_or(16 * 1024)
        };
        assert_eq!(negotiated.output_buffer_size, Some(expected));
    }
    for (size, timeout) in [
        (Some(65_537), millis(25)),
        (Some(63), millis(25)),
        (None, millis(1001)),
        (None, millis(24)),
    ] {
        let mut config = ConnectionConfig::default();
        (config.output_buffer_size, config.output_buffer_timeout) = (size, timeout);
        match config.probe(&address).await {
            Err(ConnectionError::Server(error)) => assert_eq!(error.code, ErrorCode::BadBody),
            other => panic!("{size:?}, {timeout:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn message_timeouts_and_sample_rates_outside_nsqds_bounds_are_refused() {
    require_nsq!();
    let timeout = Duration::from_secs(61);
    let code = refusal(&["--max-msg-timeout=1m"], |config| {
        config.msg_timeout = Some(timeout)
    })
    .await;
    assert_eq!(code, ErrorCode::BadBody);
    let code = refusal(&[], |config| config.sample_rate = Some(100)).await;
    assert_eq!(code, ErrorCode::BadBody);
}

#[tokio::test]
async fn an_nsqd_that_negotiates_nothing_answers_ok() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let mut client = RawClient::connect(nsqd.tcp_address()).await;
    client.identify(json!({"feature_negotiation": false})).await;
    client.expect_ok().await;
}

#[tokio::test]
async fn both_compressions_at_once_are_refused() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let mut client = RawClient::connect(nsqd.tcp_address()).await;
    client.identify(json!({"snappy": true, "deflate": true})).await;
    client.expect_fatal(ErrorCode::IdentifyFailed).await;
}

#[tokio::test]
async fn a_message_waits_in_nsqds_buffer_as_long_as_was_asked_for() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let arrival = async |timeout: Duration| {
        let mut config = ConnectionConfig::default();
        config.output_buffer_timeout = timeout;
        // With a RDY of one, nsqd would not wait for a second message.
        let mut consumer = consumer_config(nsqd.tcp_address(), &config);
        consumer.max_in_flight = 10;
        let mut consumer = Consumer::start(consumer).unwrap();
        eventually("the consumer is ready", || async {
            client_of(&nsqd).await["ready_count"] == 10
        })
        .await;
        let producer = producer(nsqd.tcp_address(), &ConnectionConfig::default());
        let published = Instant::now();
        producer.publish(&topic(), "one").await.unwrap();
        next(&mut consumer).await.finish().unwrap();
        let waited = published.elapsed();
        consumer.close(LIMIT).await;
        waited
    };
    // nsqd's timer is running already when the message comes, so the wait is at most that long.
    let mut longest = Duration::ZERO;
    for _ in 0..4 {
        longest = longest.max(arrival(Duration::from_millis(700)).await);
    }
    assert!(longest > Duration::from_millis(100), "{longest:?}");
    let shortest = arrival(Duration::ZERO).await;
    assert!(shortest < longest, "{shortest:?} and {longest:?}");
}

#[tokio::test]
async fn a_sample_is_about_the_share_that_was_asked_for() {
    require_nsq!();
    const MESSAGES: usize = 10_000;
    let nsqd = nsqd(&[]).await;
    nsqd.create_channel("images", "ch").await;
    let producer = producer(nsqd.tcp_address(), &ConnectionConfig::default());
    let topic = topic();
    let batches = (0..MESSAGES / 1000).map(|_| producer.publish_many(&topic, vec!["x".into(); 1000]));
    for published in join_all(batches).await {
        published.unwrap();
    }
    let mut config = ConnectionConfig::default();
    config.sample_rate = Some(42);
    let mut consumer = consumer(nsqd.tcp_address(), &config);
    let mut received = 0;
    // What is not sent is gone as well: the channel runs dry.
    let dry = async { eventually("dry", || async { nsqd.channel("images", "ch").await.depth == 0 }).await };
    tokio::pin!(dry);
    loop {
        tokio::select! {
            Some(message) = consumer.next() => {
                message.finish().unwrap();
                received += 1;
            }
            () = &mut dry => break,
        }
    }
    let share = received * 100 / MESSAGES;
    assert!((37..=47).contains(&share), "{share} percent");
}

#[tokio::test]
async fn a_client_without_heartbeats_hears_none_and_may_publish_but_not_subscribe() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let mut config = ConnectionConfig::default();
    config.heartbeats = false;
    let producer = producer(nsqd.tcp_address(), &config);
    producer.publish(&topic(), "unbothered").await.unwrap();

    let (mut client, _) = RawClient::introduced(nsqd.tcp_address(), json!({"heartbeat_interval": -1})).await;
    client.send("SUB images ch\n").await;
    client.expect_fatal(ErrorCode::Invalid).await;
}

#[tokio::test]
async fn who_answers_no_heartbeat_is_cut_off_and_who_does_is_kept() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let heartbeat = async_nsq::Frame::Response("_heartbeat_".into());
    let asked = json!({"heartbeat_interval": 1000});
    let (mut client, _) = RawClient::introduced(nsqd.tcp_address(), asked).await;
    for _ in 0..3 {
        assert_eq!(client.frame().await, Some(heartbeat.clone()));
        client.send("NOP\n").await;
    }
    let silent_since = Instant::now();
    while client.frame().await == Some(heartbeat.clone()) {}
    assert!(silent_since.elapsed() < Duration::from_secs(10));
}
