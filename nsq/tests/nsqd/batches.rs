//! Many messages at once: cutting, limits that are learned, two stages, and gathering.

use std::time::Duration;

use async_nsq::{
    HttpConfig, InvalidMessage, NotSent, NsqdAddress, NsqdHttp, Producer, ProducerConfig, PublishError,
};
use bytes::Bytes;
use futures::future::join_all;
use safelight_testkit::{Nsqd, NsqdOptions, Proxy, require_nsq};
use tokio::time::{Instant, timeout};

use super::support::*;

fn with_http(nsqd: &Nsqd) -> ProducerConfig {
    let http = NsqdHttp::new(&nsqd.http_address().to_string(), HttpConfig::default()).unwrap();
    let mut config = producer_config(nsqd.tcp_address());
    config.nsqd = vec![NsqdAddress::new(nsqd.tcp_address().to_string()).with_http(http)];
    config
}

#[tokio::test]
async fn more_than_a_batch_holds_is_cut_into_as_few_batches_as_nsqd_takes() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    nsqd.create_channel("images", "ch").await;
    let producer = producer(nsqd.tcp_address()).with_timeout(LIMIT);
    until_connected(&producer).await;
    let batch = vec![Bytes::from(vec![b'x'; 1024 * 1024]); 10];
    producer.publish_many(&topic(), batch).await.unwrap();
    // Four of 1 MiB fit below 5 MiB with their framing.
    assert_eq!(producer.stats().commands, 3);
    assert_eq!(producer.stats().acknowledged, 10);
    assert_eq!(nsqd.channel("images", "ch").await.messages, 10);
}

#[tokio::test]
async fn limits_are_asked_for_over_http_where_that_is_known() {
    require_nsq!();
    let nsqd = nsqd_with(&[
        "--max-msg-size=2000000",
        "--max-body-size=3000000",
        "--max-req-timeout=2h",
    ])
    .await;
    let producer = Producer::start(with_http(&nsqd)).unwrap().with_timeout(LIMIT);
    until_connected(&producer).await;
    let limits = producer.limits();
    assert_eq!(
        (limits.max_message_size, limits.max_body_size),
        (2_000_000, 3_000_000)
    );
    // Over what is assumed where nothing is known.
    producer.publish(&topic(), vec![b'x'; 1_900_000]).await.unwrap();
    let delay = Duration::from_secs(5400);
    producer.publish_deferred(&topic(), "later", delay).await.unwrap();
    assert!(producer.publish(&topic(), vec![b'x'; 2_000_001]).await.is_err());
    assert_eq!(producer.stats().connections, 1);
}

#[tokio::test]
async fn an_http_side_that_does_not_answer_keeps_nobody_from_publishing() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = NsqdHttp::new(&silent.local_addr().unwrap().to_string(), HttpConfig::default()).unwrap();
    let mut config = producer_config(nsqd.tcp_address());
    config.nsqd[0].http = Some(http);
    let producer = Producer::start(config).unwrap().with_timeout(LIMIT);
    producer.publish(&topic(), "a").await.unwrap();
}

#[tokio::test]
async fn a_batch_that_turns_out_too_long_is_cut_anew_by_the_limit_that_the_refusal_tells() {
    require_nsq!();
    let nsqd = nsqd_with(&["--max-body-size=2000"]).await;
    nsqd.create_channel("images", "ch").await;
    let producer = producer(nsqd.tcp_address()).with_timeout(LIMIT);
    let expected = bodies("message ", 300);
    let batch = expected.iter().cloned().map(Bytes::from).collect();
    producer.publish_many(&topic(), batch).await.unwrap();
    assert_eq!(producer.limits().max_body_size, 2000);
    assert_eq!(producer.stats().rejected, 300);
    let mut consumer = consumer(&nsqd);
    assert_eq!(finish_all(&mut consumer, expected).await, 0, "nothing came twice");
    assert_eq!(nsqd.channel("images", "ch").await.messages, 300);
}

#[tokio::test]
async fn a_message_that_turns_out_too_long_fails_alone_and_those_around_it_are_published() {
    require_nsq!();
    let nsqd = nsqd_with(&["--max-msg-size=100"]).await;
    nsqd.create_channel("images", "ch").await;
    let producer = producer(nsqd.tcp_address()).with_timeout(LIMIT);
    let mut expected = bodies("message ", 20);
    let mut batch: Vec<Bytes> = expected.iter().cloned().map(Bytes::from).collect();
    for long in [0, 7, 19] {
        batch[long] = vec![b'x'; 101].into();
    }
    let error = producer.publish_many(&topic(), batch).await.unwrap_err();
    let failed: Vec<usize> = error.failed.iter().flat_map(|(range, _)| range.clone()).collect();
    assert_eq!(failed, [0, 7, 19]);
    for (_, reason) in &error.failed {
        assert!(
            matches!(
                reason,
                PublishError::Invalid(InvalidMessage::TooLarge {
                    size: 101,
                    limit: 100
                })
            ),
            "{reason:?}"
        );
    }
    let mut index = 0..;
    expected.retain(|_| !failed.contains(&index.next().unwrap()));
    let mut consumer = consumer(&nsqd);
    assert_eq!(finish_all(&mut consumer, expected).await, 0, "nothing came twice");
    assert_eq!(nsqd.channel("images", "ch").await.messages, 17);
}

#[tokio::test]
async fn several_batches_of_one_caller_are_under_way_and_each_tells_of_itself() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    nsqd.create_channel("images", "ch").await;
    let proxy = Proxy::start(nsqd.tcp_address()).await;
    let producer = producer(proxy.address()).with_timeout(LIMIT);
    until_connected(&producer).await;
    proxy.black_hole();
    let expected = bodies("message ", 500);
    let all: Vec<Bytes> = expected.iter().cloned().map(Bytes::from).collect();
    let mut under_way = Vec::new();
    for batch in all.chunks(50) {
        let batch = batch.to_vec();
        under_way.push(producer.enqueue_many(&topic(), batch).await.unwrap());
    }
    assert_eq!(
        producer.stats().acknowledged,
        0,
        "all are queued before one is answered"
    );
    proxy.heal();
    for ack in under_way.into_iter().rev() {
        ack.wait().await.unwrap();
    }
    assert_eq!(producer.stats().acknowledged, 500);
    let mut consumer = consumer(&nsqd);
    assert_eq!(finish_all(&mut consumer, expected).await, 0, "nothing came twice");
}

#[tokio::test]
async fn a_batch_that_cannot_be_cut_by_its_caller_tells_which_messages_failed() {
    require_nsq!();
    let nsqd = nsqd_with(&["--max-body-size=2000"]).await;
    let producer = producer(nsqd.tcp_address()).with_timeout(LIMIT);
    let batch = vec![Bytes::from(vec![b'x'; 100]); 100];
    let acks = producer.enqueue_many(&topic(), batch.clone()).await.unwrap();
    let error = acks.wait().await.unwrap_err();
    assert_eq!(error.failed[0].0, 0..100);
    assert!(
        matches!(error.worst(), Some(PublishError::Rejected(_))),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .starts_with("100 of 100 messages were not published"),
        "{error}"
    );
    // The limit is known now.
    producer
        .enqueue_many(&topic(), batch)
        .await
        .unwrap()
        .wait()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_deferred_message_over_a_limit_that_is_learned_is_refused_here_from_then_on() {
    require_nsq!();
    let nsqd = nsqd_with(&["--max-req-timeout=1m"]).await;
    let producer = producer(nsqd.tcp_address()).with_timeout(LIMIT);
    let delay = Duration::from_secs(120);
    let first = producer.publish_deferred(&topic(), "a", delay).await;
    assert!(matches!(first, Err(PublishError::Rejected(_))), "{first:?}");
    let second = producer.publish_deferred(&topic(), "a", delay).await;
    assert!(matches!(second, Err(PublishError::Invalid(_))), "{second:?}");
    let most = Duration::from_secs(60);
    producer.publish_deferred(&topic(), "a", most).await.unwrap();
}

#[tokio::test]
async fn queued_messages_are_acknowledged_each_and_stored_in_their_order() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let producer = producer(nsqd.tcp_address()).with_timeout(LIMIT);
    let mut acks = Vec::new();
    for number in 0..500 {
        acks.push(producer.enqueue(&topic(), format!("m{number}")).await.unwrap());
    }
    for result in join_all(acks).await {
        result.unwrap();
    }
    let mut consumer = consumer(&nsqd);
    for number in 0..500 {
        let message = next(&mut consumer).await;
        assert_eq!(message.body(), format!("m{number}").as_bytes());
        message.finish().unwrap();
    }
}

#[tokio::test]
async fn queueing_waits_where_too_much_is_pending_and_gives_up_at_the_deadline() {
    let nobody = safelight_testkit::free_port();
    let mut config = producer_config(format!("127.0.0.1:{nobody}"));
    config.max_pending = 2;
    let producer = Producer::start(config)
        .unwrap()
        .with_timeout(Duration::from_millis(200));
    let first = producer.enqueue(&topic(), "a").await.unwrap();
    let _second = producer.enqueue(&topic(), "b").await.unwrap();
    let begun = Instant::now();
    let third = producer.enqueue(&topic(), "c").await;
    assert!(matches!(third, Err(PublishError::NotSent(_))), "{third:?}");
    assert!(begun.elapsed() >= Duration::from_millis(200));
    // The place of one that is not wanted any more is another's.
    drop(first);
    let patient = producer.with_timeout(LIMIT);
    let fourth = timeout(LIMIT, patient.enqueue(&topic(), "d")).await.unwrap();
    assert!(fourth.is_ok());
}

#[tokio::test]
async fn with_linger_many_publishes_become_few_commands_and_each_is_acknowledged() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    let mut config = producer_config(nsqd.tcp_address());
    config.linger = Some(Duration::from_millis(5));
    let producer = Producer::start(config).unwrap().with_timeout(LIMIT);
    until_connected(&producer).await;
    let topics = ["images", "other"].map(|name| async_nsq::Topic::new(name).unwrap());
    let publishes = (0..1000).map(|number| producer.publish(&topics[number % 2], format!("m{number}")));
    for result in join_all(publishes).await {
        result.unwrap();
    }
    let stats = producer.stats();
    assert_eq!(stats.acknowledged, 1000);
    assert!(stats.commands <= 20, "{stats:?}");
    // One alone waits no longer than it has to.
    let begun = Instant::now();
    producer.publish(&topics[0], "alone").await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(5));
    let mut consumer = consumer(&nsqd);
    let mut expected = bodies("m", 1000);
    expected.retain(|body| body.trim_start_matches('m').parse::<usize>().unwrap() % 2 == 0);
    expected.insert("alone".to_owned());
    assert_eq!(finish_all(&mut consumer, expected).await, 0);
}

#[tokio::test]
async fn with_linger_one_bad_message_fails_alone() {
    require_nsq!();
    let nsqd = nsqd_with(&["--max-msg-size=1000"]).await;
    let mut config = producer_config(nsqd.tcp_address());
    config.linger = Some(Duration::from_millis(5));
    let producer = Producer::start(config).unwrap().with_timeout(LIMIT);
    until_connected(&producer).await;
    let topic = topic();
    let bodies = (0..100).map(|number| vec![b'x'; if number == 50 { 1001 } else { 10 }]);
    let results = join_all(bodies.map(|body| producer.publish(&topic, body))).await;
    let mut unknown = 0;
    for (number, result) in results.into_iter().enumerate() {
        match result {
            Ok(()) => assert_ne!(number, 50),
            Err(PublishError::Invalid(_) | PublishError::Rejected(_)) => assert_eq!(number, 50),
            // The network may swallow nsqd's last words, see above.
            Err(PublishError::Unknown(_)) => unknown += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(unknown == 0 || unknown == 100, "{unknown} unknown");
}

#[tokio::test]
async fn an_unknown_is_sent_again_where_that_was_asked_for() {
    require_nsq!();
    let nsqd = Nsqd::start(NsqdOptions::default()).await;
    nsqd.create_channel("images", "ch").await;
    let proxy = Proxy::start(nsqd.tcp_address()).await;
    let producer = producer(proxy.address()).with_timeout(LIMIT);
    until_connected(&producer).await;
    proxy.mute();
    let topic = topic();
    let repeating = producer.repeating_unknown();
    let mut once = tokio_test::task::spawn(producer.publish(&topic, "once"));
    let mut again = tokio_test::task::spawn(repeating.publish(&topic, "again"));
    tokio_test::assert_pending!(once.poll());
    tokio_test::assert_pending!(again.poll());
    eventually("nsqd has both", || async {
        nsqd.channel("images", "ch").await.messages == 2
    })
    .await;
    proxy.cut();
    let once = timeout(LIMIT, once).await.unwrap();
    assert!(matches!(once, Err(PublishError::Unknown(_))), "{once:?}");
    proxy.heal();
    timeout(LIMIT, again).await.unwrap().unwrap();
    assert_eq!(nsqd.channel("images", "ch").await.messages, 3);
    let stats = producer.stats();
    assert_eq!((stats.acknowledged, stats.unknown, stats.repeated), (1, 1, 1));
}

#[tokio::test]
async fn nothing_is_queued_once_the_producer_is_closed() {
    let nobody = safelight_testkit::free_port();
    let producer = producer(format!("127.0.0.1:{nobody}"));
    producer.close().await;
    let late = producer.enqueue(&topic(), "late").await;
    assert!(
        matches!(late, Err(PublishError::NotSent(NotSent::Closed))),
        "{late:?}"
    );
    let late = producer
        .publish_many(&topic(), vec!["a".into(), "b".into()])
        .await
        .unwrap_err();
    assert!(
        matches!(late.worst(), Some(PublishError::NotSent(NotSent::Closed))),
        "{late}"
    );
}
