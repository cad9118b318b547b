use std::time::Duration;

use async_nsq::{AnswerError, Consumer, NotSent, Producer, PublishError};
use futures::future::join_all;
use safelight_testkit::{Nsqd, NsqdOptions, Proxy, require_nsq};
use tokio::time::{Instant, timeout};

use super::support::*;

#[tokio::test]
async fn producer_and_consumer_go_on_by_themselves_after_nsqd_was_killed_and_restarted() {
    require_nsq!();
    let mut nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let mut consumer = consumer(&nsqd);
    producer.publish(&topic(), "before").await.unwrap();
    next(&mut consumer).await.finish().unwrap();

    for round in 0..3 {
        nsqd.kill();
        until_disconnected(&producer).await;
        until_consuming_from(&consumer, 0).await;
        nsqd.restart().await;
        let body = format!("after {round}");
        // One call: it waits for the connection by itself.
        producer.publish(&topic(), body.clone()).await.unwrap();
        let message = next(&mut consumer).await;
        assert_eq!(message.body(), body.as_bytes());
        message.finish().unwrap();
    }
    assert!(consumer.control().stats().connection_failures >= 3);
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_nsqd_is_stopped_in_an_orderly_way_under_load() {
    require_nsq!();
    let mut nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address()).with_timeout(LIMIT);
    let mut consumer = consumer(&nsqd);
    until_connected(&producer).await;
    let topic = topic();
    let publishes = (0..40).map(|lane| {
        let (producer, topic) = (producer.clone(), topic.clone());
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0..50 {
                let body = format!("{lane}/{number}");
                // What may be stored, and may not, is published again: twice is allowed, lost is not.
                while let Err(error) = producer.publish(&topic, body.clone()).await {
                    assert!(error.is_retryable(), "{error}");
                }
                acknowledged.push(body);
            }
            acknowledged
        })
    });
    let publishes: Vec<_> = publishes.collect();
    eventually("some were published", || async {
        nsqd.channel("images", "ch").await.messages > 100
    })
    .await;
    nsqd.terminate().await;
    nsqd.restart().await;
    let acknowledged = join_all(publishes).await.into_iter().flat_map(Result::unwrap);
    finish_all(&mut consumer, acknowledged.collect()).await;
}

#[tokio::test]
async fn publishing_while_nsqd_is_down_fails_in_time_as_certainly_not_sent() {
    require_nsq!();
    let mut nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address()).with_timeout(Duration::from_millis(500));
    until_connected(&producer).await;
    nsqd.kill();
    until_disconnected(&producer).await;

    let begun = Instant::now();
    let topic = topic();
    let results = join_all((0..100).map(|number| producer.publish(&topic, format!("m{number}")))).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    for result in results {
        assert!(
            matches!(result, Err(PublishError::NotSent(NotSent::Disconnected(_)))),
            "{result:?}"
        );
    }

    nsqd.restart().await;
    producer
        .with_timeout(LIMIT)
        .publish(&topic, "back")
        .await
        .unwrap();
    let mut consumer = consumer(&nsqd);
    let message = next(&mut consumer).await;
    assert_eq!(
        message.body(),
        "back",
        "nothing that was reported as not sent arrives later"
    );
    message.finish().unwrap();
    let stats = nsqd.channel("images", "ch").await;
    assert_eq!(stats.messages, 1);
}

#[tokio::test]
async fn publishing_to_a_frozen_nsqd_is_unanswered_in_time_and_never_a_success() {
    require_nsq!();
    let mut nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address()).with_timeout(Duration::from_millis(300));
    until_connected(&producer).await;
    nsqd.freeze().await;
    let result = timeout(LIMIT, producer.publish(&topic(), "into the ice"))
        .await
        .unwrap();
    assert!(matches!(result, Err(PublishError::Unanswered(_))), "{result:?}");
    assert!(result.unwrap_err().may_be_stored());
    nsqd.thaw();
    producer
        .with_timeout(LIMIT)
        .publish(&topic(), "thawed")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_publish_whose_answer_is_lost_with_the_connection_is_unknown() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    nsqd.create_channel("images", "ch").await;
    let proxy = Proxy::start(nsqd.tcp_address()).await;
    let producer = producer(proxy.address()).with_timeout(LIMIT);
    until_connected(&producer).await;
    proxy.mute();
    let topic = topic();
    let mut publish = tokio_test::task::spawn(producer.publish(&topic, "stored"));
    tokio_test::assert_pending!(publish.poll());
    eventually("nsqd has it", || async {
        nsqd.channel("images", "ch").await.messages == 1
    })
    .await;
    proxy.cut();
    let result = timeout(LIMIT, publish).await.unwrap();
    assert!(matches!(result, Err(PublishError::Unknown(_))), "{result:?}");
    proxy.heal();
    producer.publish(&topic, "after").await.unwrap();
}

#[tokio::test]
async fn a_producer_without_a_server_says_so_and_takes_no_more_than_its_bounds() {
    let nobody = safelight_testkit::free_port();
    let mut config = producer_config(format!("127.0.0.1:{nobody}"));
    config.max_pending = 10;
    config.publish_timeout = Duration::from_millis(300);
    let producer = Producer::start(config).unwrap();
    let topic = topic();
    let results = join_all((0..100).map(|_| producer.publish(&topic, "m"))).await;
    for result in results {
        assert!(matches!(result, Err(PublishError::NotSent(_))), "{result:?}");
    }
    // Closing has nothing left to wait for.
    timeout(LIMIT, producer.close()).await.unwrap();
}

#[tokio::test]
async fn a_publish_dropped_before_it_was_sent_is_never_sent() {
    require_nsq!();
    let mut nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address()).with_timeout(LIMIT);
    until_connected(&producer).await;
    nsqd.kill();
    until_disconnected(&producer).await;
    let topic = topic();
    let mut dropped = tokio_test::task::spawn(producer.publish(&topic, "dropped"));
    tokio_test::assert_pending!(dropped.poll());
    drop(dropped);
    nsqd.restart().await;
    producer.publish(&topic, "kept").await.unwrap();
    nsqd.create_channel("images", "ch").await;
    eventually("only the other is stored", || async {
        nsqd.channel("images", "ch").await.messages == 1
    })
    .await;
}

#[tokio::test]
async fn a_silent_connection_is_given_up_after_two_heartbeats_and_made_again() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let proxy = Proxy::start(nsqd.tcp_address()).await;
    let mut config = consumer_config();
    config.connection.heartbeat_interval = Duration::from_secs(1);
    config.nsqd = vec![proxy.address().to_string()];
    let mut consumer = Consumer::start(config).unwrap();
    until_consuming_from(&consumer, 1).await;
    proxy.black_hole();
    let went_silent = Instant::now();
    until_consuming_from(&consumer, 0).await;
    assert!(
        went_silent.elapsed() < Duration::from_secs(4),
        "{:?}",
        went_silent.elapsed()
    );
    proxy.heal();
    producer(nsqd.tcp_address())
        .publish(&topic(), "heard again")
        .await
        .unwrap();
    // What nsqd still sends over the old connection comes back when nsqd has given that one up.
    next(&mut consumer).await.finish().unwrap();
}

#[tokio::test]
async fn messages_of_a_lost_connection_cannot_be_answered_and_come_again() {
    require_nsq!();
    let flags = vec!["--msg-timeout=1s".to_owned()];
    let nsqd = Nsqd::start(NsqdOptions {
        flags,
        ..NsqdOptions::default()
    })
    .await;
    let proxy = Proxy::start(nsqd.tcp_address()).await;
    let mut config = consumer_config();
    config.nsqd = vec![proxy.address().to_string()];
    let mut consumer = Consumer::start(config).unwrap();
    let producer = producer(nsqd.tcp_address());
    for number in 0..3 {
        producer.publish(&topic(), format!("m{number}")).await.unwrap();
    }
    let held = next(&mut consumer).await;
    eventually("all have arrived", || async {
        consumer.control().stats().received == 3
    })
    .await;
    proxy.cut();
    until_consuming_from(&consumer, 0).await;
    assert_eq!(held.touch(), Err(AnswerError::ConnectionLost));
    assert_eq!(held.finish(), Err(AnswerError::ConnectionLost));
    proxy.heal();
    // Also the two that had arrived: they are not handed out from the dead connection.
    let mut attempts = Vec::new();
    for _ in 0..3 {
        let message = next(&mut consumer).await;
        attempts.push(message.attempts());
        message.finish().unwrap();
    }
    assert_eq!(attempts, [2, 2, 2]);
}
