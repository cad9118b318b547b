//! A producer that has several nsqds.

use std::time::Duration;

use async_nsq::{NsqdAddress, Producer, PublishError};
use safelight_testkit::{Nsqd, NsqdOptions, free_port, require_nsq};
use tokio::time::{Instant, timeout};

use super::support::*;

fn producer_of(nsqds: &[String]) -> Producer {
    let mut config = producer_config(&nsqds[0]);
    config.nsqd = nsqds.iter().map(NsqdAddress::from).collect();
    // Whatever goes over at once does so without this wait.
    config.connection.reconnect_first = LIMIT * 10;
    config.connection.reconnect_longest = LIMIT * 10;
    Producer::start(config).unwrap().with_timeout(LIMIT)
}

#[tokio::test]
async fn the_next_nsqd_takes_over_at_once_and_keeps_publishing_when_the_first_is_back() {
    require_nsq!();
    let mut first = Nsqd::start(NsqdOptions::default()).await;
    let second = Nsqd::start(NsqdOptions::default()).await;
    first.create_channel("images", "ch").await;
    second.create_channel("images", "ch").await;
    let producer = producer_of(&[first.tcp_address().to_string(), second.tcp_address().to_string()]);
    producer.publish(&topic(), "to the first").await.unwrap();
    assert_eq!(producer.nsqd(), first.tcp_address().to_string());

    first.kill();
    until_disconnected(&producer).await;
    let begun = Instant::now();
    producer.publish(&topic(), "to the second").await.unwrap();
    assert!(begun.elapsed() < LIMIT / 2, "{:?}", begun.elapsed());
    assert_eq!(producer.nsqd(), second.tcp_address().to_string());

    first.restart().await;
    producer.publish(&topic(), "to the second again").await.unwrap();
    assert_eq!(second.channel("images", "ch").await.messages, 2);
    assert_eq!(producer.stats().connections, 2);
}

#[tokio::test]
async fn an_nsqd_that_is_not_there_is_passed_over() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let nobody = format!("127.0.0.1:{}", free_port());
    let producer = producer_of(&[nobody, nsqd.tcp_address().to_string()]);
    producer.publish(&topic(), "a").await.unwrap();
    assert_eq!(producer.stats().connection_failures, 1);
}

#[tokio::test]
async fn under_load_only_what_was_on_its_way_is_in_doubt_when_one_of_two_dies() {
    require_nsq!();
    let mut first = Nsqd::start(NsqdOptions::default()).await;
    let second = Nsqd::start(NsqdOptions::default()).await;
    second.create_channel("images", "ch").await;
    let producer = producer_of(&[first.tcp_address().to_string(), second.tcp_address().to_string()]);
    until_connected(&producer).await;
    let lanes: Vec<_> = (0..20)
        .map(|_| {
            let producer = producer.clone();
            tokio::spawn(async move {
                let mut unknown = 0;
                for _ in 0..500 {
                    match producer.publish(&topic(), "m").await {
                        Ok(()) => {}
                        Err(PublishError::Unknown(_)) => unknown += 1,
                        Err(other) => panic!("{other:?}"),
                    }
                }
                unknown
            })
        })
        .collect();
    eventually("some were published", || async {
        producer.stats().acknowledged > 1000
    })
    .await;
    first.kill();
    let mut unknown = 0;
    for lane in lanes {
        unknown += timeout(LIMIT, lane).await.unwrap().unwrap();
    }
    assert!(unknown <= 20, "one a lane at most: {unknown}");
    let stats = producer.stats();
    assert_eq!(stats.acknowledged + stats.unknown, 20 * 500);
    assert!(second.channel("images", "ch").await.messages > 0);
}

#[tokio::test]
async fn a_message_that_nsqd_refuses_does_not_make_the_producer_leave_it() {
    require_nsq!();
    let flags = vec!["--max-msg-size=100".to_owned()];
    let first = Nsqd::start(NsqdOptions {
        flags,
        ..NsqdOptions::default()
    })
    .await;
    let second = Nsqd::start(NsqdOptions::default()).await;
    let mut config = producer_config(first.tcp_address());
    config.nsqd.push(second.tcp_address().to_string().into());
    config.connection.reconnect_first = Duration::from_millis(1);
    let producer = Producer::start(config).unwrap().with_timeout(LIMIT);
    let refused = producer.publish(&topic(), vec![b'x'; 200]).await;
    assert!(matches!(refused, Err(PublishError::Rejected(_))), "{refused:?}");
    producer.publish(&topic(), "a").await.unwrap();
    assert_eq!(producer.nsqd(), first.tcp_address().to_string());
}
