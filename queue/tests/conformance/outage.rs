//! What happens while a back end is away.

use std::time::Duration;

use safelight_queue::{CHANNEL, EmbeddedSettings, NsqConfig, Queue, QueueError, TOPIC_IMAGES, encode_id};
use safelight_testkit::{NsqLookupd, Nsqd, NsqdOptions, free_port, require_nsq};
use tokio::time::{Instant, sleep, timeout};

use crate::backend::sqlite;

const LIMIT: Duration = Duration::from_secs(20);

async fn until_ready(queue: &Queue, ready: bool) {
    let give_up = Instant::now() + LIMIT;
    while queue.ready().is_ok() != ready {
        assert!(Instant::now() < give_up, "{:?}", queue.ready());
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn publishing_to_an_nsqd_that_is_away_is_unavailable_in_time_and_works_when_it_is_back() {
    require_nsq!();
    let mut nsqd = Nsqd::start(NsqdOptions::default()).await;
    let config = NsqConfig {
        producer: Some(nsqd.tcp_address().to_string()),
        publish_timeout: Some(Duration::from_millis(500)),
        ..NsqConfig::default()
    };
    let queue = Queue::nsq(config).unwrap();
    let mut subscription = queue.subscribe(TOPIC_IMAGES, CHANNEL, 4).unwrap();
    until_ready(&queue, true).await;

    nsqd.kill();
    until_ready(&queue, false).await;
    let begun = Instant::now();
    let refused = queue.publish(TOPIC_IMAGES, &[encode_id(1)]).await.unwrap_err();
    assert!(refused.is_unavailable(), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(2));

    nsqd.restart().await;
    until_ready(&queue, true).await;
    queue.publish(TOPIC_IMAGES, &[encode_id(2)]).await.unwrap();
    let delivery = timeout(LIMIT, subscription.next()).await.unwrap().unwrap();
    assert_eq!(delivery.body(), &encode_id(2));
    delivery.finish().await.unwrap();
}

#[tokio::test]
async fn a_subscription_finds_its_nsqds_through_nsqlookupd() {
    require_nsq!();
    let lookupd = NsqLookupd::start().await;
    let consumer = NsqConfig {
        lookupd: vec![lookupd.http_address().to_string()],
        ..NsqConfig::default()
    };
    let consumer = Queue::nsq(consumer).unwrap();
    assert_eq!(consumer.ready(), Ok(()), "there is no producer to wait for");
    let mut subscription = consumer.subscribe(TOPIC_IMAGES, CHANNEL, 4).unwrap();
    let refused = consumer.publish(TOPIC_IMAGES, &[encode_id(1)]).await.unwrap_err();
    assert!(matches!(refused, QueueError::Invalid(_)), "{refused}");

    let nsqd = Nsqd::start(NsqdOptions {
        lookupd: vec![lookupd.tcp_address()],
        ..NsqdOptions::default()
    })
    .await;
    let producer = NsqConfig {
        producer: Some(nsqd.tcp_address().to_string()),
        ..NsqConfig::default()
    };
    Queue::nsq(producer)
        .unwrap()
        .publish(TOPIC_IMAGES, &[encode_id(1)])
        .await
        .unwrap();
    timeout(LIMIT, subscription.next())
        .await
        .unwrap()
        .unwrap()
        .finish()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_subscription_to_nobody_waits_and_closes_at_once() {
    let config = NsqConfig {
        nsqd: vec![format!("127.0.0.1:{}", free_port())],
        ..NsqConfig::default()
    };
    let subscription = Queue::nsq(config)
        .unwrap()
        .subscribe(TOPIC_IMAGES, CHANNEL, 4)
        .unwrap();
    timeout(LIMIT / 4, subscription.close(LIMIT))
        .await
        .expect("there is nothing to wait for");
}

#[tokio::test]
async fn a_message_that_another_queue_of_the_same_table_publishes_is_found_by_the_poll() {
    let (database, _folder) = sqlite().await;
    let table = database.embedded_queue().unwrap();
    let mut subscription = Queue::embedded(table.clone())
        .subscribe(TOPIC_IMAGES, CHANNEL, 4)
        .unwrap();
    Queue::embedded(table)
        .publish(TOPIC_IMAGES, &[encode_id(1)])
        .await
        .unwrap();
    timeout(LIMIT, subscription.next())
        .await
        .unwrap()
        .unwrap()
        .finish()
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_in_the_table_outlives_the_program() {
    let (database, _folder) = sqlite().await;
    let queue = Queue::embedded(database.embedded_queue().unwrap());
    queue
        .publish(TOPIC_IMAGES, &[encode_id(1), encode_id(2)])
        .await
        .unwrap();
    drop(queue);
    let queue = Queue::embedded(database.embedded_queue().unwrap());
    let mut subscription = queue.subscribe(TOPIC_IMAGES, CHANNEL, 4).unwrap();
    for _ in 0..2 {
        timeout(LIMIT, subscription.next())
            .await
            .unwrap()
            .unwrap()
            .finish()
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_requeued_message_of_a_table_is_delivered_when_its_delay_has_passed_and_not_when_its_lease_would() {
    let (database, _folder) = sqlite().await;
    let hour = Duration::from_secs(3600);
    let settings = EmbeddedSettings {
        lease: hour,
        poll_interval: hour,
    };
    let queue = Queue::embedded_with(database.embedded_queue().unwrap(), settings);
    let mut subscription = queue.subscribe(TOPIC_IMAGES, CHANNEL, 4).unwrap();
    queue.publish(TOPIC_IMAGES, &[encode_id(1)]).await.unwrap();
    let delivery = timeout(LIMIT, subscription.next()).await.unwrap().unwrap();
    delivery.requeue(Duration::from_millis(300)).await.unwrap();
    let again = timeout(LIMIT, subscription.next())
        .await
        .expect("it is due")
        .unwrap();
    again.finish().await.unwrap();
}

#[tokio::test]
async fn what_expires_before_anyone_asks_for_it_is_not_handed_out() {
    let (database, _folder) = sqlite().await;
    let lease = Duration::from_millis(300);
    let settings = EmbeddedSettings {
        lease,
        poll_interval: Duration::from_secs(3600),
    };
    let queue = Queue::embedded_with(database.embedded_queue().unwrap(), settings);
    let mut slow = queue.subscribe(TOPIC_IMAGES, CHANNEL, 4).unwrap();
    queue.publish(TOPIC_IMAGES, &[encode_id(1)]).await.unwrap();
    // Taken for the slow one, who does not ask, until the lease is over.
    sleep(lease * 2).await;
    let delivery = timeout(LIMIT, slow.next()).await.unwrap().unwrap();
    assert!(delivery.attempts() >= 2, "{}", delivery.attempts());
    delivery.finish().await.expect("it is still held");
}
