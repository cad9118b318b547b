//! What these tests share. Time is paused, so a deadline costs nothing and an hour is enough for all.

use std::time::Duration;

use async_nsq::testing::{MockNetwork, MockNsqd, Recorded, Verb};
use async_nsq::{Channel, ConsumerConfig, ConsumerControl, Message, Topic};
use tokio::time::timeout;

pub(crate) const LONG: Duration = Duration::from_secs(3600);

pub(crate) fn config(network: &MockNetwork, nsqds: &[&str]) -> ConsumerConfig {
    let mut config = ConsumerConfig::new(Topic::new("images").unwrap(), Channel::new("ch").unwrap());
    config.nsqd = nsqds.iter().map(|&address| address.to_owned()).collect();
    config.max_in_flight = 5;
    config.connection.dialer = Some(network.dialer());
    config
}

/// An nsqd, and the configuration of a consumer of it.
pub(crate) fn one_nsqd() -> (MockNsqd, ConsumerConfig) {
    let network = MockNetwork::new();
    let nsqd = network.nsqd("mock:4150");
    let config = config(&network, &["mock:4150"]);
    (nsqd, config)
}

pub(crate) async fn next(consumer: &mut async_nsq::Consumer) -> Message {
    let next = timeout(LONG, consumer.next()).await;
    next.expect("a message comes").expect("the consumer is open")
}

/// The commands of consuming: those of the handshake and the answers to heartbeats left out, message ids
/// without their zeros.
pub(crate) fn story(nsqd: &MockNsqd) -> Vec<String> {
    let told = nsqd.recorded().into_iter().filter(is_told);
    told.map(|recorded| brief(&recorded)).collect()
}

fn is_told(recorded: &Recorded) -> bool {
    !matches!(
        recorded.command.verb(),
        Verb::Identify | Verb::Subscribe | Verb::Nop
    )
}

fn brief(recorded: &Recorded) -> String {
    let line = recorded.to_string();
    let words: Vec<&str> = line
        .split(' ')
        .map(|word| {
            if word.len() == 16 {
                word.trim_start_matches('0')
            } else {
                word
            }
        })
        .collect();
    words.join(" ")
}

/// Waits until the mock has this story to tell.
pub(crate) async fn until_story(nsqd: &MockNsqd, expected: &[&str]) {
    let mut reader = nsqd.clone();
    let told = timeout(LONG, async {
        while story(nsqd) != expected {
            reader.next_command().await;
        }
    });
    let told = told.await;
    assert!(told.is_ok(), "told {:?}, expected {expected:?}", story(nsqd));
}

/// Waits until the mock has been told this, whatever else.
pub(crate) async fn until_told(nsqd: &MockNsqd, line: &str) {
    let mut reader = nsqd.clone();
    let told = timeout(LONG, async {
        while !story(nsqd).iter().any(|told| told == line) {
            reader.next_command().await;
        }
    });
    assert!(told.await.is_ok(), "never told {line}: {:?}", story(nsqd));
}

/// Waits until so many messages have arrived and are not answered.
pub(crate) async fn until_in_flight(control: &ConsumerControl, count: usize) {
    let arrived = timeout(LONG, async {
        while control.in_flight() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(
        arrived.await.is_ok(),
        "{} of {count} arrived",
        control.in_flight()
    );
}
