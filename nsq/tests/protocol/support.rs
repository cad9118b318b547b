//! What these tests share.

use std::future::Future;
use std::time::Duration;

use async_nsq::{
    Channel, ConnectionConfig, Consumer, ConsumerConfig, Message, Producer, ProducerConfig, Topic,
};
use futures::future::join_all;
use safelight_testkit::{Nsqd, NsqdOptions};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

/// Everything here ends long before, unless it is broken.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn topic() -> Topic {
    Topic::new("images").unwrap()
}

pub(crate) fn channel() -> Channel {
    Channel::new("ch").unwrap()
}

pub(crate) async fn nsqd(flags: &[&str]) -> Nsqd {
    Nsqd::start(NsqdOptions {
        flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        ..NsqdOptions::default()
    })
    .await
}

pub(crate) fn producer(address: impl ToString, connection: &ConnectionConfig) -> Producer {
    let mut config = ProducerConfig::new(address.to_string());
    config.connection = connection.clone();
    config.publish_timeout = LIMIT;
    Producer::start(config).unwrap()
}

pub(crate) fn consumer(address: impl ToString, connection: &ConnectionConfig) -> Consumer {
    Consumer::start(consumer_config(address, connection)).unwrap()
}

pub(crate) fn consumer_config(address: impl ToString, connection: &ConnectionConfig) -> ConsumerConfig {
    let mut config = ConsumerConfig::new(topic(), channel());
    config.connection = connection.clone();
    config.nsqd = vec![address.to_string()];
    config
}

/// The next message, which must come in time.
pub(crate) async fn next(consumer: &mut Consumer) -> Message {
    let message = timeout(LIMIT, consumer.next()).await;
    message
        .expect("a message comes in time")
        .expect("the consumer is open")
}

/// Publishes bodies of all sizes over one such connection and takes them off another.
pub(crate) async fn assert_carried(address: impl ToString, connection: &ConnectionConfig) {
    let address = address.to_string();
    let mut expected: Vec<Vec<u8>> = [1, 200, 4096, 65_536, 128 * 1024, 1024 * 1024]
        .into_iter()
        .flat_map(|len| [even(len), odd(len)])
        .collect();
    let producer = producer(&address, connection);
    let topic = topic();
    let publishing = expected.iter().map(|body| producer.publish(&topic, body.clone()));
    for published in join_all(publishing).await {
        published.unwrap();
    }
    let many = (0..500_u32).map(|number| format!("message {number}"));
    let many: Vec<Vec<u8>> = many.map(String::into_bytes).collect();
    let bodies = many.iter().cloned().map(Into::into).collect();
    producer.publish_many(&topic, bodies).await.unwrap();
    expected.extend(many);

    let mut consumer = consumer(&address, connection);
    let first = next(&mut consumer).await;
    first.touch().unwrap();
    first.requeue(Duration::ZERO).unwrap();
    let mut received = Vec::new();
    while received.len() < expected.len() {
        let message = next(&mut consumer).await;
        received.push(message.body().to_vec());
        message.finish().unwrap();
    }
    assert_eq!(consumer.control().stats().requeued, 1);
    expected.sort();
    received.sort();
    assert!(received == expected, "what was carried is not what was published");
    producer.close().await;
    consumer.close(LIMIT).await;
}

/// Compresses to next to nothing.
fn even(len: usize) -> Vec<u8> {
    vec![b'x'; len]
}

/// Does not compress.
fn odd(len: usize) -> Vec<u8> {
    let mut state = len as u64;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(len)
    .collect()
}

/// What nsqd says about the one client of the channel.
pub(crate) async fn client_of(nsqd: &Nsqd) -> Value {
    let stats = nsqd.stats().await;
    stats["topics"][0]["channels"][0]["clients"][0].clone()
}

/// Waits until the condition holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let give_up = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < give_up, "never came true: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
