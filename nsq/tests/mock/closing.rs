use std::time::Duration;

use async_nsq::testing::{Reply, Verb};
use async_nsq::{AnswerError, Consumer};
use tokio::time::{Instant, timeout};

use super::support::*;

const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_drain_asks_for_no_more_requeues_the_unstarted_and_waits_for_the_running() {
    let (nsqd, config) = one_nsqd();
    let mut consumer = Consumer::start(config).unwrap();
    for body in ["one", "two", "three"] {
        nsqd.publish(body);
    }
    let running = next(&mut consumer).await;
    let control = consumer.control();
    let draining = tokio::spawn({
        let control = control.clone();
        async move { control.drain(GRACE).await }
    });
    // The first of them may be back already.
    until_told(&nsqd, "REQ 2 0").await;
    until_told(&nsqd, "REQ 3 0").await;
    assert!(!draining.is_finished());
    assert!(consumer.next().await.is_none(), "nothing is handed out any more");
    running.finish().unwrap();
    let drained = draining.await.unwrap();
    assert_eq!((drained.finished, drained.requeued, drained.abandoned), (1, 2, 0));
    assert_eq!(
        control.drain(GRACE).await,
        drained,
        "who asks later is told the same"
    );
    let expected = ["RDY 5", "CLS", "REQ 2 0", "REQ 3 0", "FIN 1"];
    assert_eq!(story(&nsqd), expected);
    assert_eq!(control.state().drained, Some(drained));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_at_the_deadline_is_requeued_at_once_and_its_answer_fails() {
    let (nsqd, config) = one_nsqd();
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("held");
    let held = next(&mut consumer).await;
    let begun = Instant::now();
    let drained = timeout(LONG, consumer.close(GRACE)).await.unwrap();
    assert!(
        begun.elapsed() - GRACE < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!((drained.finished, drained.requeued, drained.abandoned), (0, 0, 1));
    assert_eq!(story(&nsqd), ["RDY 5", "CLS", "REQ 1 0"]);
    assert_eq!((nsqd.depth(), nsqd.in_flight()), (1, 0));
    assert_eq!(held.finish(), Err(AnswerError::ConnectionLost));
}

#[tokio::test(start_paused = true)]
async fn an_nsqd_that_does_not_answer_cls_does_not_hold_up_a_drain() {
    let (nsqd, config) = one_nsqd();
    nsqd.answer_always(Verb::Close, Reply::Silence);
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("unstarted");
    nsqd.publish("held");
    let held = next(&mut consumer).await;
    let begun = Instant::now();
    let drained = timeout(LONG, consumer.close(GRACE)).await.unwrap();
    assert!(
        begun.elapsed() - GRACE < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!((drained.requeued, drained.abandoned), (1, 1));
    assert_eq!(nsqd.in_flight(), 0);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_second_drain_can_bring_the_deadline_forward() {
    let (nsqd, config) = one_nsqd();
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("held");
    let _held = next(&mut consumer).await;
    let control = consumer.control();
    let begun = Instant::now();
    let patient = control.drain(LONG);
    let hasty = control.drain(GRACE);
    let (patient, hasty) = tokio::join!(patient, hasty);
    assert_eq!((patient, hasty.abandoned), (hasty, 1));
    assert!(begun.elapsed() < 2 * GRACE, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_after_close_wait_is_requeued_too() {
    let (nsqd, config) = one_nsqd();
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("held");
    let held = next(&mut consumer).await;
    let late = async_nsq::testing::MockMessage::new("late");
    let late = late.with_id(async_nsq::MessageId::from_bytes(*b"message-that-is-"));
    nsqd.answer_next(
        Verb::Close,
        Reply::Several(vec![Reply::response("CLOSE_WAIT"), Reply::Message(late)]),
    );
    let closing = tokio::spawn(consumer.close(GRACE));
    until_told(&nsqd, "REQ message-that-is- 0").await;
    held.finish().unwrap();
    let drained = closing.await.unwrap();
    assert_eq!((drained.finished, drained.requeued, drained.abandoned), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_when_cls_is_answered_after_the_deadline_is_requeued_too() {
    let (nsqd, config) = one_nsqd();
    let late = async_nsq::testing::MockMessage::new("late");
    let late = late.with_id(async_nsq::MessageId::from_bytes(*b"message-that-is-"));
    let answer = Reply::Several(vec![Reply::response("CLOSE_WAIT"), Reply::Message(late)]);
    nsqd.answer_next(Verb::Close, answer.after(Duration::from_millis(10)));
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("held");
    nsqd.publish("unstarted");
    let held = next(&mut consumer).await;
    let drained = timeout(LONG, consumer.close(Duration::ZERO)).await.unwrap();
    until_told(&nsqd, "REQ message-that-is- 0").await;
    assert_eq!((drained.requeued, drained.abandoned), (2, 1));
    assert_eq!(nsqd.in_flight(), 0);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_end_waits_as_long_as_it_takes() {
    let (nsqd, config) = one_nsqd();
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("held");
    let held = next(&mut consumer).await;
    let closing = tokio::spawn(consumer.close(Duration::MAX));
    until_told(&nsqd, "CLS").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    held.finish().unwrap();
    assert_eq!(closing.await.unwrap().finished, 1);
}
