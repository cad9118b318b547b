//! What these tests share: short ways to start things, and waiting for conditions.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use async_nsq::{Channel, Consumer, ConsumerConfig, Message, Producer, ProducerConfig, ProducerState, Topic};
use safelight_testkit::{Nsqd, NsqdOptions};
use tokio::time::{Instant, sleep, timeout};

/// Everything here ends long before, unless it is broken.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn topic() -> Topic {
    Topic::new("images").unwrap()
}

pub(crate) fn channel() -> Channel {
    Channel::new("ch").unwrap()
}

pub(crate) async fn nsqd_with(flags: &[&str]) -> Nsqd {
    Nsqd::start(NsqdOptions {
        flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        ..NsqdOptions::default()
    })
    .await
}

/// One that has the channel of [`consumer_config`] already, and gives messages up after this long.
pub(crate) async fn impatient_nsqd(msg_timeout: Duration) -> Nsqd {
    let nsqd = nsqd_with(&[&format!("--msg-timeout={}ms", msg_timeout.as_millis())]).await;
    nsqd.create_channel("images", "ch").await;
    nsqd
}

pub(crate) fn producer(address: impl ToString) -> Producer {
    Producer::start(producer_config(address)).unwrap()
}

pub(crate) fn producer_config(address: impl ToString) -> ProducerConfig {
    let mut config = ProducerConfig::new(address.to_string());
    config.connection.reconnect_longest = Duration::from_millis(500);
    config
}

pub(crate) fn consumer_config() -> ConsumerConfig {
    let mut config = ConsumerConfig::new(topic(), channel());
    config.connection.reconnect_longest = Duration::from_millis(500);
    config
}

pub(crate) fn consumer(nsqd: &Nsqd) -> Consumer {
    let mut config = consumer_config();
    config.nsqd = vec![nsqd.tcp_address().to_string()];
    Consumer::start(config).unwrap()
}

/// The next message, which must come in time.
pub(crate) async fn next(consumer: &mut Consumer) -> Message {
    let message = timeout(LIMIT, consumer.next()).await;
    message
        .expect("a message comes in time")
        .expect("the consumer is open")
}

/// Takes and finishes messages until all of these bodies were seen, and tells how often others came.
pub(crate) async fn finish_all(consumer: &mut Consumer, mut expected: BTreeSet<String>) -> usize {
    let mut others = 0;
    while !expected.is_empty() {
        let message = next(consumer).await;
        let body = String::from_utf8(message.body().to_vec()).unwrap();
        others += usize::from(!expected.remove(&body));
        message.finish().unwrap();
    }
    others
}

pub(crate) fn bodies(prefix: &str, count: usize) -> BTreeSet<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

/// Waits until the condition holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let give_up = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < give_up, "never came true: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn until_connected(producer: &Producer) {
    let mut state = producer.watch_state();
    let connected = state.wait_for(|state| matches!(state, ProducerState::Connected));
    timeout(LIMIT, connected)
        .await
        .expect("connects in time")
        .expect("the producer is open");
}

pub(crate) async fn until_disconnected(producer: &Producer) {
    let mut state = producer.watch_state();
    let lost = state.wait_for(|state| matches!(state, ProducerState::Disconnected(_)));
    timeout(LIMIT, lost)
        .await
        .expect("the loss is seen in time")
        .expect("the producer is open");
}

/// Waits until so many nsqds are connected.
pub(crate) async fn until_consuming_from(consumer: &Consumer, nsqds: usize) {
    let mut state = consumer.control().watch_state();
    let connected = state.wait_for(|state| state.connected == nsqds);
    timeout(LIMIT, connected)
        .await
        .expect("connects in time")
        .expect("the consumer is open");
}
