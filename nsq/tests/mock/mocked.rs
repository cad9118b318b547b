//! The mock itself: it behaves as an nsqd does, and as its script says.

use std::time::Duration;

use async_nsq::testing::{MockMessage, MockNetwork, MockNsqd, Reply, Verb};
use async_nsq::{Consumer, ErrorCode, MessageId, Producer, ProducerConfig, PublishError, Topic};
use tokio::time::{Instant, sleep_until, timeout};

use super::support::*;

#[tokio::test(start_paused = true)]
async fn a_message_is_delivered_answered_and_requeued_after_its_delay_with_attempts_counted() {
    let (nsqd, config) = one_nsqd();
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish(MockMessage::new("work").with_attempts_before(6));
    let first = next(&mut consumer).await;
    assert_eq!((first.attempts(), first.body().as_ref()), (7, b"work".as_slice()));
    let requeued = Instant::now();
    first.requeue(Duration::from_secs(90)).unwrap();
    let second = next(&mut consumer).await;
    assert!(requeued.elapsed() >= Duration::from_secs(90));
    assert_eq!(second.attempts(), 8);
    assert_eq!(nsqd.in_flight(), 1);
    second.finish().unwrap();
    until_story(&nsqd, &["RDY 5", "REQ 1 90000", "FIN 1"]).await;
    assert_eq!((nsqd.in_flight(), nsqd.depth(), nsqd.most_in_flight()), (0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn no_more_is_delivered_than_rdy_allows() {
    let (nsqd, mut config) = one_nsqd();
    config.max_in_flight = 3;
    let mut consumer = Consumer::start(config).unwrap();
    for number in 0..10 {
        nsqd.publish(format!("m{number}"));
    }
    for _ in 0..10 {
        next(&mut consumer).await.finish().unwrap();
    }
    assert_eq!(nsqd.most_in_flight(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_message_not_answered_in_time_is_delivered_again() {
    let (nsqd, config) = one_nsqd();
    nsqd.configure(|settings| settings.msg_timeout = Duration::from_secs(7));
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("slow");
    let late = next(&mut consumer).await;
    let delivered = Instant::now();
    let again = next(&mut consumer).await;
    assert_eq!(delivered.elapsed().as_secs(), 7);
    again.finish().unwrap();
    assert!(late.is_expired());
    drop(late);
    assert_eq!(nsqd.depth(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_late_message_counts_as_in_flight_until_nsqd_has_looked_for_late_ones() {
    let (nsqd, config) = one_nsqd();
    nsqd.configure(|settings| settings.msg_timeout = Duration::from_secs(1));
    let mut consumer = Consumer::start(config).unwrap();
    let control = consumer.control();
    nsqd.publish("slow");
    let late = next(&mut consumer).await;
    // So that it does not come again.
    control.pause();
    sleep_until(late.deadline() + Duration::from_millis(150)).await;
    assert_eq!(control.in_flight(), 1);
    sleep_until(late.deadline() + Duration::from_millis(250)).await;
    assert_eq!(control.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_script_answers_once_or_always_and_a_fatal_answer_ends_the_connection() {
    let network = MockNetwork::new();
    let nsqd = network.nsqd("mock:4150");
    let mut config = ProducerConfig::new("mock:4150");
    config.connection.dialer = Some(network.dialer());
    let producer = Producer::start(config).unwrap();
    let topic = Topic::new("images").unwrap();

    nsqd.answer_next(Verb::Publish, Reply::fatal("E_PUB_FAILED the disk is full"));
    let refused = producer.publish(&topic, "one").await.unwrap_err();
    assert!(
        matches!(&refused, PublishError::Rejected(error) if error.code == ErrorCode::PubFailed),
        "{refused:?}"
    );
    producer.publish(&topic, "two").await.unwrap();
    assert_eq!((nsqd.accepted(), nsqd.depth()), (2, 1));

    nsqd.answer_always(Verb::Publish, Reply::ok().after(Duration::from_secs(2)));
    for body in ["three", "four"] {
        let sent = Instant::now();
        producer.publish(&topic, body).await.unwrap();
        assert_eq!(sent.elapsed().as_secs(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_cut_off_or_refused_comes_back_when_it_can() {
    let (mut nsqd, config) = one_nsqd();
    nsqd.refuse_connections(true);
    let mut consumer = Consumer::start(config).unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(nsqd.accepted(), 0);
    nsqd.refuse_connections(false);
    timeout(LONG, nsqd.next_of(Verb::Ready)).await.unwrap();
    nsqd.disconnect();
    let ready = timeout(LONG, nsqd.next_of(Verb::Ready)).await.unwrap();
    assert_eq!(ready.connection, 1);
    nsqd.publish("after");
    next(&mut consumer).await.finish().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_is_kept_by_heartbeats_and_leaves_a_mock_that_sends_none() {
    let (mut nsqd, config) = one_nsqd();
    let consumer = Consumer::start(config).unwrap();
    tokio::time::sleep(LONG).await;
    assert_eq!(nsqd.accepted(), 1);
    nsqd.configure(|settings| settings.silent = true);
    timeout(LONG, nsqd.next_of(Verb::Nop)).await.unwrap();
    let again = async {
        while nsqd.accepted() == 1 {
            nsqd.next_command().await;
        }
    };
    timeout(LONG, again).await.unwrap();
    drop(consumer);
}

#[tokio::test(start_paused = true)]
async fn frames_of_any_kind_are_sent_at_any_time() {
    let (mut nsqd, config) = one_nsqd();
    let mut consumer = Consumer::start(config).unwrap();
    timeout(LONG, nsqd.next_of(Verb::Ready)).await.unwrap();
    nsqd.send(Reply::heartbeat());
    timeout(LONG, nsqd.next_of(Verb::Nop)).await.unwrap();
    let id = MessageId::from_bytes(*b"one-of-a-test's!");
    nsqd.send(Reply::Message(MockMessage::new("pushed").with_id(id)));
    assert_eq!(next(&mut consumer).await.id(), id);
    nsqd.send(Reply::Raw(b"\xff\xff\xff\xffgarbage".as_slice().into()));
    let again = timeout(LONG, nsqd.next_of(Verb::Ready)).await.unwrap();
    assert_eq!(again.connection, 1, "the client has no use for garbage");
}

#[tokio::test]
async fn a_mock_is_reached_over_tcp_as_well() {
    let nsqd = MockNsqd::listen().await.unwrap();
    let mut config = config(&MockNetwork::new(), &[nsqd.address()]);
    config.connection.dialer = None;
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("over tcp");
    let message = next(&mut consumer).await;
    assert_eq!(message.nsqd(), nsqd.address());
    message.finish().unwrap();
    until_story(&nsqd, &["RDY 5", "FIN 1"]).await;
}
