use std::time::Duration;

use async_nsq::{Frame, InvalidMessage, NotSent, Producer, PublishError, PublishManyError, Topic};
use bytes::Bytes;
use futures::future::join_all;
use safelight_testkit::{Nsqd, NsqdOptions, Proxy, require_nsq};
use tokio::time::{Instant, timeout};
use tokio_test::assert_pending;

use super::support::*;

#[tokio::test]
async fn a_published_message_is_consumed_once_with_its_body_and_first_attempt() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let mut consumer = consumer(&nsqd);

    producer.publish(&topic(), "hello").await.unwrap();
    let message = next(&mut consumer).await;
    assert_eq!(message.body(), "hello");
    assert_eq!(message.attempts(), 1);
    assert_eq!(message.nsqd(), nsqd.tcp_address().to_string());
    let age = message.timestamp().elapsed().unwrap();
    assert!(age < LIMIT, "{age:?}");
    message.finish().unwrap();

    eventually("nsqd forgets the message", || async {
        let stats = nsqd.channel("images", "ch").await;
        stats.messages == 1 && stats.in_flight == 0 && stats.depth == 0
    })
    .await;
}

#[tokio::test]
async fn a_batch_of_a_thousand_is_acknowledged_once_and_consumed_whole() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let expected = bodies("m", 1000);
    let batch = expected.iter().cloned().map(Bytes::from).collect();
    producer.publish_many(&topic(), batch).await.unwrap();

    let mut consumer = consumer(&nsqd);
    assert_eq!(finish_all(&mut consumer, expected).await, 0);
    eventually("nsqd forgets all", || async {
        let stats = nsqd.channel("images", "ch").await;
        stats.messages == 1000 && stats.in_flight == 0 && stats.depth == 0
    })
    .await;
    assert_eq!(consumer.control().stats().finished, 1000);
}

#[tokio::test]
async fn concurrent_publishes_of_many_clones_are_each_acknowledged() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let topic = topic();
    let publishes = (0..2000).map(|number| {
        let (producer, topic) = (producer.clone(), &topic);
        async move { producer.publish(topic, format!("m{number}")).await }
    });
    for result in join_all(publishes).await {
        result.unwrap();
    }
    let mut consumer = consumer(&nsqd);
    assert_eq!(finish_all(&mut consumer, bodies("m", 2000)).await, 0);
}

#[tokio::test]
async fn a_large_body_arrives_unharmed() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let large: Bytes = (0..1024 * 1024)
        .map(|index| (index % 251) as u8)
        .collect::<Vec<_>>()
        .into();
    producer.publish(&topic(), large.clone()).await.unwrap();
    let batch = vec![large.clone(), Bytes::from_static(b"small"), large.clone()];
    producer.publish_many(&topic(), batch).await.unwrap();

    let mut consumer = consumer(&nsqd);
    let mut seen = Vec::new();
    for _ in 0..4 {
        let message = next(&mut consumer).await;
        seen.push(message.body().clone());
        message.finish().unwrap();
    }
    seen.sort_by_key(Bytes::len);
    assert_eq!(
        seen,
        [Bytes::from_static(b"small"), large.clone(), large.clone(), large]
    );
}

#[tokio::test]
async fn a_deferred_message_is_held_back_by_nsqd() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    nsqd.create_channel("images", "ch").await;
    let producer = producer(nsqd.tcp_address());
    let mut consumer = consumer(&nsqd);
    until_consuming_from(&consumer, 1).await;

    let delay = Duration::from_secs(1);
    let published = Instant::now();
    producer.publish_deferred(&topic(), "later", delay).await.unwrap();
    producer.publish(&topic(), "now").await.unwrap();
    let first = next(&mut consumer).await;
    assert_eq!(first.body(), "now");
    first.finish().unwrap();
    let second = next(&mut consumer).await;
    assert_eq!(second.body(), "later");
    assert!(published.elapsed() >= delay, "{:?}", published.elapsed());
    second.finish().unwrap();
}

#[tokio::test]
async fn what_nsqd_would_refuse_is_refused_here_and_the_connection_stays() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let proxy = Proxy::start(nsqd.tcp_address()).await;
    let producer = producer(proxy.address());
    let topic = topic();
    until_connected(&producer).await;

    let oversize = vec![0_u8; 1024 * 1024 + 1];
    let refused = |result: Result<(), PublishError>| match result {
        Err(PublishError::Invalid(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(producer.publish(&topic, "").await), InvalidMessage::Empty);
    let refused_batch = |result: Result<(), PublishManyError>| {
        let error = result.unwrap_err();
        assert_eq!(error.acknowledged(), 0);
        match &error.failed[..] {
            [(_, PublishError::Invalid(reason))] => reason.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(
        refused_batch(producer.publish_many(&topic, vec![]).await),
        InvalidMessage::EmptyBatch
    );
    let partly_empty = vec!["a".into(), Bytes::new()];
    assert_eq!(
        refused_batch(producer.publish_many(&topic, partly_empty).await),
        InvalidMessage::Empty
    );
    assert_eq!(
        refused(producer.publish(&topic, oversize).await),
        InvalidMessage::TooLarge {
            size: 1024 * 1024 + 1,
            limit: 1024 * 1024
        }
    );
    let delay = Duration::from_secs(3601);
    assert_eq!(
        refused(producer.publish_deferred(&topic, "a", delay).await),
        InvalidMessage::DelayTooLong {
            delay,
            limit: Duration::from_secs(3600)
        }
    );
    assert!(Topic::new("bad name").is_err());

    producer.publish(&topic, "good").await.unwrap();
    assert_eq!(proxy.accepted(), 1, "the connection was never given up");
}

#[tokio::test]
async fn a_message_that_nsqd_rejects_harms_no_other_that_is_under_way() {
    require_nsq!();
    // This nsqd takes less than the client is told.
    let flags = vec!["--max-msg-size=1000".to_owned()];
    let nsqd = Nsqd::start(NsqdOptions {
        flags,
        ..NsqdOptions::default()
    })
    .await;
    let producer = producer(nsqd.tcp_address());
    let topic = topic();
    until_connected(&producer).await;

    let publishes = (0..200).map(|number| {
        let poison = number % 50 == 25;
        let body = if poison {
            vec![b'x'; 2000]
        } else {
            format!("m{number}").into_bytes()
        };
        let (producer, topic) = (producer.clone(), &topic);
        async move { (poison, producer.publish(topic, body).await) }
    });
    let mut stored = 0;
    for (poison, result) in join_all(publishes).await {
        match result {
            Ok(()) => {
                assert!(!poison);
                stored += 1;
            }
            Err(PublishError::Rejected(error)) => {
                assert!(poison, "{error}");
                assert_eq!(error.code, async_nsq::ErrorCode::BadMessage);
            }
            // The first refusal has taught the limit.
            Err(PublishError::Invalid(InvalidMessage::TooLarge { limit, .. })) => {
                assert!(poison && limit == 1000);
            }
            // nsqd closes with our bytes unread, so the network may swallow its last words; but then
            // nobody may be told that the message was stored, or was not.
            Err(PublishError::Unknown(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    let mut consumer = consumer(&nsqd);
    let mut received = 0;
    while received < stored {
        next(&mut consumer).await.finish().unwrap();
        received += 1;
    }
    producer.publish(&topic, "after").await.unwrap();
}

#[tokio::test]
async fn closing_waits_for_what_is_under_way_and_refuses_what_comes_later() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let topic = topic();
    until_connected(&producer).await;
    let bodies: Vec<String> = (0..40).map(|number| format!("m{number}")).collect();
    let running = join_all(bodies.iter().map(|body| producer.publish(&topic, body.clone())));
    let mut running = tokio_test::task::spawn(running);
    assert_pending!(running.poll());
    timeout(LIMIT, producer.close()).await.unwrap();
    for result in running.await {
        result.unwrap();
    }
    let late = producer.publish(&topic, "late").await;
    assert!(
        matches!(late, Err(PublishError::NotSent(NotSent::Closed))),
        "{late:?}"
    );
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_the_start() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let refused = |change: fn(&mut async_nsq::ProducerConfig)| {
        let mut config = producer_config("127.0.0.1:1");
        change(&mut config);
        Producer::start(config).unwrap_err().field
    };
    assert_eq!(refused(|config| config.nsqd.clear()), "nsqd");
    assert_eq!(refused(|config| config.nsqd[0].tcp.clear()), "nsqd");
    assert_eq!(refused(|config| config.max_pending = 0), "max_pending");
    assert_eq!(
        refused(|config| config.max_pending_bytes = 10),
        "max_pending_bytes"
    );
    assert_eq!(refused(|config| config.max_message_size = 0), "max_message_size");
    assert_eq!(
        refused(|config| config.connection.heartbeat_interval = Duration::ZERO),
        "heartbeat_interval"
    );
}

/// The decoder is public, so that a test elsewhere can play nsqd's part.
#[test]
fn the_public_decoder_reads_a_heartbeat() {
    let mut bytes = bytes::BytesMut::from(&b"\0\0\0\x0f\0\0\0\0_heartbeat_"[..]);
    let frame = async_nsq::FrameDecoder::new(1024).decode(&mut bytes).unwrap();
    assert_eq!(frame, Some(Frame::Response("_heartbeat_".into())));
}
