use std::time::Duration;

use async_nsq::{AnswerError, Channel, Consumer, Topic};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use safelight_testkit::{Nsqd, NsqdOptions, Proxy, require_nsq};
use tokio::time::{Instant, timeout};

use super::support::*;

/// When nsqd gives a message up, which it tells the consumer.
const MSG_TIMEOUT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_requeued_message_comes_again_after_its_delay_and_with_its_attempts_counted() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    nsqd.create_channel("images", "ch").await;
    let producer = producer(nsqd.tcp_address());
    let mut consumer = consumer(&nsqd);
    producer.publish(&topic(), "again").await.unwrap();

    let delay = Duration::from_millis(700);
    let first = next(&mut consumer).await;
    assert_eq!(first.attempts(), 1);
    let requeued = Instant::now();
    first.requeue(delay).unwrap();
    let second = next(&mut consumer).await;
    assert!(requeued.elapsed() >= delay, "{:?}", requeued.elapsed());
    assert_eq!((second.body(), second.attempts()), (&Bytes::from("again"), 2));
    second.finish().unwrap();
}

#[tokio::test]
async fn a_message_dropped_unanswered_comes_again_at_once() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let mut consumer = consumer(&nsqd);
    producer.publish(&topic(), "dropped").await.unwrap();

    drop(next(&mut consumer).await);
    // Far sooner than the message timeout of a minute.
    let again = next(&mut consumer).await;
    assert_eq!(again.attempts(), 2);
    again.finish().unwrap();
    eventually("nsqd counts one requeue and no timeout", || async {
        let stats = nsqd.channel("images", "ch").await;
        (stats.requeued, stats.timed_out, stats.in_flight) == (1, 0, 0)
    })
    .await;
}

#[tokio::test]
async fn a_touched_message_outlives_its_timeout() {
    require_nsq!();
    let nsqd = impatient_nsqd(MSG_TIMEOUT).await;
    let producer = producer(nsqd.tcp_address());
    let mut consumer = consumer(&nsqd);
    until_consuming_from(&consumer, 1).await;
    producer.publish(&topic(), "long work").await.unwrap();

    let message = next(&mut consumer).await;
    let taken = Instant::now();
    assert!(message.deadline() <= taken + MSG_TIMEOUT);
    while taken.elapsed() < 3 * MSG_TIMEOUT {
        message.touch().unwrap();
        assert!(message.deadline() > Instant::now() + MSG_TIMEOUT / 2);
        // The work itself, during which nobody else must be given the message.
        let nobody = timeout(MSG_TIMEOUT / 4, consumer.next()).await;
        assert!(nobody.is_err(), "delivered twice: {nobody:?}");
    }
    message.finish().unwrap();
    eventually("nsqd takes the late answer", || async {
        let stats = nsqd.channel("images", "ch").await;
        stats.in_flight == 0 && stats.timed_out == 0 && stats.depth == 0
    })
    .await;
    assert_eq!(consumer.control().stats().refused_answers, 0);
}

#[tokio::test]
async fn an_answer_after_the_deadline_is_refused_counted_and_does_not_end_the_connection() {
    require_nsq!();
    let nsqd = impatient_nsqd(MSG_TIMEOUT).await;
    let proxy = Proxy::start(nsqd.tcp_address()).await;
    let producer = producer(nsqd.tcp_address());
    let mut config = consumer_config();
    config.nsqd = vec![proxy.address().to_string()];
    let mut consumer = Consumer::start(config).unwrap();
    producer.publish(&topic(), "slow").await.unwrap();

    let late = next(&mut consumer).await;
    let again = next(&mut consumer).await;
    assert_eq!(again.attempts(), 2, "nsqd gave the message up, and gave it again");
    assert!(late.is_expired());
    again.finish().unwrap();
    late.finish().unwrap();
    eventually("the refusal is counted", || async {
        consumer.control().stats().refused_answers == 1
    })
    .await;
    producer.publish(&topic(), "next").await.unwrap();
    next(&mut consumer).await.finish().unwrap();
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn messages_that_expire_before_anyone_asks_for_them_are_not_handed_out() {
    require_nsq!();
    let nsqd = impatient_nsqd(MSG_TIMEOUT).await;
    let producer = producer(nsqd.tcp_address());
    let mut consumer = consumer(&nsqd);
    producer.publish(&topic(), "stale").await.unwrap();
    // It arrives, and expires, several times over while nobody asks.
    eventually("nsqd gives it up", || async {
        nsqd.channel("images", "ch").await.timed_out >= 2
    })
    .await;

    let message = next(&mut consumer).await;
    assert!(!message.is_expired());
    assert!(message.attempts() >= 2);
    message.finish().unwrap();
    eventually("the answer counts", || async {
        nsqd.channel("images", "ch").await.in_flight == 0
    })
    .await;
    assert_eq!(consumer.control().stats().refused_answers, 0);
}

#[tokio::test]
async fn heartbeats_are_answered_while_nobody_reads() {
    require_nsq!();
    // nsqd gives a client up that is silent for two heartbeats.
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let proxy = Proxy::start(nsqd.tcp_address()).await;
    let mut config = consumer_config();
    config.connection.heartbeat_interval = Duration::from_secs(1);
    config.nsqd = vec![proxy.address().to_string()];
    let consumer = Consumer::start(config).unwrap();
    until_consuming_from(&consumer, 1).await;
    let mut state = consumer.control().watch_state();
    let lost = timeout(
        Duration::from_secs(4),
        state.wait_for(|state| state.connected == 0),
    )
    .await;
    assert!(lost.is_err(), "the connection was lost");
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn a_pause_stops_the_flow_and_resuming_continues_it() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    nsqd.create_channel("images", "ch").await;
    let producer = producer(nsqd.tcp_address());
    let mut consumer = consumer(&nsqd);
    let control = consumer.control();
    until_consuming_from(&consumer, 1).await;

    control.pause();
    control.pause();
    eventually("nsqd has read RDY 0", || async {
        nsqd.channel("images", "ch").await.ready == [0]
    })
    .await;
    for number in 0..10 {
        producer.publish(&topic(), format!("m{number}")).await.unwrap();
    }
    eventually("all wait at nsqd", || async {
        nsqd.channel("images", "ch").await.depth == 10
    })
    .await;
    assert!(consumer.next().now_or_never().is_none());
    assert!(control.state().paused);

    control.resume();
    assert_eq!(finish_all(&mut consumer, bodies("m", 10)).await, 0);
}

#[tokio::test]
async fn a_consumer_started_paused_takes_nothing_until_it_is_resumed() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    producer.publish(&topic(), "m0").await.unwrap();
    let mut config = consumer_config();
    config.nsqd = vec![nsqd.tcp_address().to_string()];
    config.start_paused = true;
    let mut consumer = Consumer::start(config).unwrap();
    until_consuming_from(&consumer, 1).await;
    assert_eq!(nsqd.channel("images", "ch").await.ready, [0]);
    consumer.control().resume();
    assert_eq!(finish_all(&mut consumer, bodies("m", 1)).await, 0);
}

#[tokio::test]
async fn closing_gives_back_what_was_not_begun_and_waits_for_what_was() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let batch = bodies("m", 20).into_iter().map(Bytes::from).collect();
    producer.publish_many(&topic(), batch).await.unwrap();
    let mut consumer = consumer(&nsqd);
    let begun = next(&mut consumer).await;
    eventually("all have arrived", || async {
        consumer.control().stats().received == 20
    })
    .await;

    let mut closing = tokio_test::task::spawn(consumer.close(LIMIT));
    tokio_test::assert_pending!(closing.poll());
    eventually("the rest is back at nsqd", || async {
        let stats = nsqd.channel("images", "ch").await;
        (stats.depth, stats.in_flight, stats.requeued) == (19, 1, 19)
    })
    .await;
    tokio_test::assert_pending!(closing.poll());

    begun.finish().unwrap();
    let drained = timeout(LIMIT / 2, closing)
        .await
        .expect("closing does not wait for its deadline");
    assert_eq!((drained.requeued, drained.abandoned), (19, 0));
    let stats = nsqd.channel("images", "ch").await;
    assert_eq!((stats.depth, stats.in_flight, stats.timed_out), (19, 0, 0));
    eventually("the connection is closed", || async {
        nsqd.channel("images", "ch").await.ready.is_empty()
    })
    .await;
}

#[tokio::test]
async fn closing_ends_at_its_deadline_and_tells_what_was_abandoned() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let mut consumer = consumer(&nsqd);
    producer.publish(&topic(), "held").await.unwrap();
    let held = next(&mut consumer).await;
    let drained = timeout(LIMIT, consumer.close(Duration::from_millis(300)))
        .await
        .unwrap();
    assert_eq!((drained.requeued, drained.abandoned), (0, 1));
    assert_eq!(held.finish(), Err(AnswerError::ConnectionLost));
}

#[tokio::test]
async fn a_dropped_consumer_gives_back_what_was_not_begun_and_lets_what_was_be_finished() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let batch = bodies("m", 5).into_iter().map(Bytes::from).collect();
    producer.publish_many(&topic(), batch).await.unwrap();
    let mut consumer = consumer(&nsqd);
    let begun = next(&mut consumer).await;
    eventually("all have arrived", || async {
        consumer.control().stats().received == 5
    })
    .await;
    drop(consumer);
    eventually("the rest is back", || async {
        nsqd.channel("images", "ch").await.depth == 4
    })
    .await;
    begun.finish().unwrap();
    eventually("nothing is in flight", || async {
        nsqd.channel("images", "ch").await.in_flight == 0
    })
    .await;
}

#[tokio::test]
async fn every_channel_gets_its_own_copy_and_a_consumer_is_a_stream() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let mut consumers = Vec::new();
    for name in ["first", "second"] {
        let mut config = consumer_config();
        config.channel = Channel::new(name).unwrap();
        config.nsqd = vec![nsqd.tcp_address().to_string()];
        let consumer = Consumer::start(config).unwrap();
        until_consuming_from(&consumer, 1).await;
        consumers.push(consumer);
    }
    producer.publish(&topic(), "copied").await.unwrap();
    for consumer in consumers {
        let first = consumer.take(1).collect::<Vec<_>>();
        for message in timeout(LIMIT, first).await.unwrap() {
            assert_eq!(message.body(), "copied");
            message.finish().unwrap();
        }
    }
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_the_start() {
    let refused = |change: fn(&mut async_nsq::ConsumerConfig)| {
        let mut config = async_nsq::ConsumerConfig::new(Topic::new("t").unwrap(), Channel::new("c").unwrap());
        config.lookupd = vec!["127.0.0.1:1".to_owned()];
        change(&mut config);
        Consumer::start(config).unwrap_err().field
    };
    assert_eq!(refused(|config| config.lookupd.clear()), "nsqd");
    assert_eq!(
        refused(|config| config.lookupd = vec!["https://x".to_owned()]),
        "lookupd"
    );
    assert_eq!(refused(|config| config.nsqd = vec![String::new()]), "nsqd");
    assert_eq!(refused(|config| config.max_in_flight = 0), "max_in_flight");
    assert_eq!(
        refused(|config| config.connection.write_timeout = Duration::ZERO),
        "write_timeout"
    );
}
