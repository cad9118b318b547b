use std::time::Duration;

use async_nsq::testing::{MockNetwork, MockNsqd, Reply, Verb};
use async_nsq::{NsqdAddress, Producer, ProducerConfig, PublishError, Topic};
use tokio::time::timeout;

use super::support::LONG;

/// An nsqd, and a producer that it is the only one of.
fn one() -> (MockNsqd, Producer) {
    let network = MockNetwork::new();
    let nsqd = network.nsqd("mock:4150");
    let mut config = ProducerConfig::new("mock:4150");
    config.connection.dialer = Some(network.dialer());
    (nsqd, Producer::start(config).unwrap())
}

fn topic() -> Topic {
    Topic::new("images").unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_nsqd_that_lives_and_answers_no_publish_is_left() {
    let network = MockNetwork::new();
    let (stuck, well) = (network.nsqd("stuck:4150"), network.nsqd("well:4150"));
    stuck.answer_always(Verb::Publish, Reply::Silence);
    let mut config = ProducerConfig::new("stuck:4150");
    config.nsqd.push(NsqdAddress::new("well:4150"));
    config.connection.dialer = Some(network.dialer());
    let producer = Producer::start(config).unwrap();
    let topic = topic();
    let unanswered = producer.publish(&topic, "first").await;
    assert!(
        matches!(unanswered, Err(PublishError::Unanswered(_))),
        "{unanswered:?}"
    );
    let left = async {
        while well.connections() == 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(LONG, left).await.unwrap();
    timeout(LONG, producer.publish(&topic, "second"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(well.depth(), 1);
}

#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_for_an_answer_that_does_not_come() {
    let (nsqd, producer) = one();
    nsqd.answer_always(Verb::Publish, Reply::Silence);
    let topic = topic();
    let publishing = producer.publish(&topic, "unanswered");
    let closing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        producer.close().await;
    };
    let (outcome, closed) = tokio::join!(publishing, timeout(LONG, closing));
    assert!(matches!(outcome, Err(PublishError::Unanswered(_))), "{outcome:?}");
    closed.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_publish_may_have_all_the_time_there_is() {
    let (_nsqd, producer) = one();
    let patient = producer.with_timeout(Duration::MAX);
    timeout(LONG, patient.publish(&topic(), "in time"))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_may_be_stored_and_waits_to_be_sent_again_is_never_said_to_be_not_sent() {
    let (nsqd, producer) = one();
    nsqd.answer_always(Verb::Publish, Reply::Disconnect);
    let repeating = producer.repeating_unknown();
    let topic = topic();
    let publishing = repeating.publish(&topic, "perhaps");
    let gone = async {
        nsqd.clone().next_of(Verb::Publish).await;
        nsqd.refuse_connections(true);
    };
    let (outcome, ()) = tokio::join!(publishing, gone);
    assert!(matches!(outcome, Err(PublishError::Unknown(_))), "{outcome:?}");
}
