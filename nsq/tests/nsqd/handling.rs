//! Handlers, confirmations and drains on a real nsqd.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nsq::{
    AnswerError, BackoffPolicy, BackoffState, Consumer, DeadLetters, ErrorCode, Failure, Message, RunConfig,
};
use bytes::Bytes;
use safelight_testkit::{Nsqd, NsqdOptions, require_nsq};
use tokio::time::{Instant, sleep, timeout};

use super::support::*;

const MSG_TIMEOUT: Duration = Duration::from_secs(1);

#[tokio::test]
async fn nsqd_confirms_a_finish_by_refusing_the_touch_behind_it() {
    require_nsq!();
    let nsqd = impatient_nsqd(MSG_TIMEOUT).await;
    let producer = producer(nsqd.tcp_address());
    let mut consumer = consumer(&nsqd);
    for body in ["one", "two", "three"] {
        producer.publish(&topic(), body).await.unwrap();
        let confirmed = next(&mut consumer).await.finish_confirmed();
        timeout(LIMIT, confirmed).await.unwrap().unwrap();
        assert_eq!(nsqd.channel("images", "ch").await.in_flight, 0);
    }

    producer.publish(&topic(), "late").await.unwrap();
    let late = next(&mut consumer).await;
    next(&mut consumer).await.finish_confirmed().await.unwrap();
    let refused = timeout(LIMIT, late.finish_confirmed()).await.unwrap();
    assert!(
        matches!(&refused, Err(AnswerError::Refused(error)) if error.code == ErrorCode::FinFailed),
        "{refused:?}"
    );
    assert_eq!(consumer.control().stats().refused_answers, 1);
    assert_eq!(consumer.control().stats().connection_failures, 0);
}

#[tokio::test]
async fn an_earlier_holder_cannot_take_a_message_from_the_later_one() {
    require_nsq!();
    let nsqd = impatient_nsqd(MSG_TIMEOUT).await;
    let producer = producer(nsqd.tcp_address());
    let mut consumer = consumer(&nsqd);
    producer.publish(&topic(), "twice").await.unwrap();
    let earlier = next(&mut consumer).await;
    let later = next(&mut consumer).await;
    // nsqd would take this for the later one's answer, as both are the same connection's.
    drop(earlier);
    timeout(LIMIT, later.finish_confirmed()).await.unwrap().unwrap();
    let stats = nsqd.channel("images", "ch").await;
    assert_eq!((stats.requeued, stats.depth, stats.in_flight), (0, 0, 0));
}

#[tokio::test]
async fn what_is_held_at_the_deadline_of_a_drain_is_somebody_elses_at_once() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let mut leaving = consumer(&nsqd);
    let batch = bodies("m", 10).into_iter().map(Bytes::from).collect();
    producer.publish_many(&topic(), batch).await.unwrap();
    let held = [next(&mut leaving).await, next(&mut leaving).await];
    let control = leaving.control();
    eventually("all have arrived", || async { control.in_flight() == 10 }).await;
    let drained = timeout(LIMIT, leaving.close(Duration::from_millis(200)))
        .await
        .unwrap();
    assert_eq!((drained.requeued, drained.abandoned), (8, 2));

    let begun = Instant::now();
    let mut staying = consumer(&nsqd);
    finish_all(&mut staying, bodies("m", 10)).await;
    // nsqd's own timeout is a minute.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for message in held {
        assert_eq!(message.finish(), Err(AnswerError::ConnectionLost));
    }
}

#[tokio::test]
async fn a_handler_slower_than_the_timeout_keeps_its_message_by_touching() {
    require_nsq!();
    let nsqd = impatient_nsqd(MSG_TIMEOUT).await;
    let producer = producer(nsqd.tcp_address());
    let calls = Arc::new(AtomicUsize::new(0));
    let called = calls.clone();
    let consumer = consumer(&nsqd);
    let control = consumer.control();
    let mut config = RunConfig::new(4);
    config.touch = true;
    tokio::spawn(consumer.run_with(config, move |_| {
        called.fetch_add(1, Ordering::SeqCst);
        async {
            sleep(3 * MSG_TIMEOUT).await;
            Ok(())
        }
    }));
    producer.publish(&topic(), "long").await.unwrap();
    eventually("it is finished", || async { control.stats().finished == 1 }).await;
    eventually("nsqd has forgotten it", || async {
        let stats = nsqd.channel("images", "ch").await;
        (stats.in_flight, stats.depth, stats.timed_out) == (0, 0, 0)
    })
    .await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(control.stats().refused_answers, 0);
}

#[tokio::test]
async fn a_poison_message_is_buried_and_the_others_are_handled_though_it_made_the_consumer_back_off() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address());
    let mut config = consumer_config();
    config.nsqd = vec![nsqd.tcp_address().to_string()];
    let unit = Duration::from_millis(20);
    config.backoff = BackoffPolicy::FullJitter {
        unit,
        longest: 8 * unit,
    };
    let consumer = Consumer::start(config).unwrap();
    let control = consumer.control();
    let buried = Arc::new(AtomicUsize::new(0));
    let burying = buried.clone();
    let mut run = RunConfig::new(4);
    run.requeue_delay = Duration::from_millis(10);
    run.dead_letters = Some(DeadLetters::after(4, move |message: Arc<Message>, _| {
        assert_eq!(message.body(), "poison");
        burying.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    }));
    tokio::spawn(consumer.run_with(run, |message: Arc<Message>| async move {
        if message.body() == "poison" {
            return Err(Failure::new("undrinkable"));
        }
        Ok(())
    }));
    producer.publish(&topic(), "poison").await.unwrap();
    let batch = bodies("m", 100).into_iter().map(Bytes::from).collect();
    producer.publish_many(&topic(), batch).await.unwrap();
    eventually("all are done", || async { control.stats().finished == 101 }).await;
    assert_eq!(buried.load(Ordering::SeqCst), 1);
    // Each success takes it one level down.
    while control.state().backoff != BackoffState::Inactive {
        let finished = control.stats().finished;
        producer.publish(&topic(), "good").await.unwrap();
        eventually("it is handled", || async { control.stats().finished > finished }).await;
    }
    eventually("nothing is left, and all of RDY is back", || async {
        let stats = nsqd.channel("images", "ch").await;
        (stats.depth, stats.in_flight, stats.deferred) == (0, 0, 0) && stats.ready == [64]
    })
    .await;
}
