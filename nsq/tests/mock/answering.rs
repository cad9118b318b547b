use std::time::Duration;

use async_nsq::testing::{Reply, Verb};
use async_nsq::{AnswerError, Consumer, ErrorCode, RefusedBy};
use tokio::time::timeout;

use super::support::*;

/// What is sent behind a FIN that is to be confirmed: a TOUCH that is always refused.
const FENCE: &str = "TOUCH async-nsq--fence";

#[tokio::test(start_paused = true)]
async fn a_confirmed_finish_is_sure_of_it_and_costs_one_touch() {
    let (nsqd, config) = one_nsqd();
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("precious");
    let message = next(&mut consumer).await;
    timeout(LONG, message.finish_confirmed()).await.unwrap().unwrap();
    until_story(&nsqd, &["RDY 5", "FIN 1", FENCE]).await;
    assert_eq!(
        consumer.control().stats().refused_answers,
        0,
        "a confirmation is no refusal"
    );
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_finish_that_came_too_late_says_so() {
    let (nsqd, config) = one_nsqd();
    nsqd.configure(|settings| settings.msg_timeout = Duration::from_secs(3));
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("slow");
    let late = next(&mut consumer).await;
    next(&mut consumer).await.finish().unwrap();
    let refused = timeout(LONG, late.finish_confirmed()).await.unwrap();
    assert!(
        matches!(&refused, Err(AnswerError::Refused(error)) if error.code == ErrorCode::FinFailed),
        "{refused:?}"
    );
    // The connection goes on.
    nsqd.publish("next");
    next(&mut consumer).await.finish_confirmed().await.unwrap();
    assert_eq!(
        (consumer.control().stats().refused_answers, nsqd.accepted()),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_finish_whose_connection_ends_is_neither_one_nor_the_other() {
    let (nsqd, config) = one_nsqd();
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("lost");
    nsqd.answer_always(Verb::Finish, Reply::Disconnect);
    let message = next(&mut consumer).await;
    let outcome = timeout(LONG, message.finish_confirmed()).await.unwrap();
    assert_eq!(outcome, Err(AnswerError::Unconfirmed));
}

#[tokio::test(start_paused = true)]
async fn a_refused_answer_is_told_with_the_message_it_names() {
    let (nsqd, config) = one_nsqd();
    let mut consumer = Consumer::start(config).unwrap();
    let mut refused = consumer.control().refused_answers();
    for (verb, code, word) in [
        (Verb::Finish, ErrorCode::FinFailed, "FIN"),
        (Verb::Requeue, ErrorCode::ReqFailed, "REQ"),
        (Verb::Touch, ErrorCode::TouchFailed, "TOUCH"),
    ] {
        let id = nsqd.publish("late");
        nsqd.answer_next(
            verb,
            Reply::error(format!("{code} {word} {id} failed ID not in flight")),
        );
        let message = next(&mut consumer).await;
        match verb {
            Verb::Finish => message.finish().unwrap(),
            Verb::Requeue => message.requeue(LONG).unwrap(),
            _ => {
                message.touch().unwrap();
                message.finish().unwrap();
            }
        }
        let told = timeout(LONG, refused.recv()).await.unwrap().unwrap();
        assert_eq!((told.id, told.code, told.by), (id, code, RefusedBy::Nsqd));
        assert_eq!(told.nsqd, "mock:4150");
    }
    assert_eq!(consumer.control().stats().refused_answers, 3);
    assert_eq!(nsqd.accepted(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_requeue_or_touch_of_an_earlier_delivery_is_not_taken_for_one_of_the_later() {
    let (nsqd, config) = one_nsqd();
    nsqd.configure(|settings| settings.msg_timeout = Duration::from_secs(3));
    let mut consumer = Consumer::start(config).unwrap();
    let mut refused = consumer.control().refused_answers();
    let id = nsqd.publish("twice");
    let earlier = next(&mut consumer).await;
    let later = next(&mut consumer).await;
    assert_eq!((earlier.attempts(), later.attempts()), (1, 2));
    earlier.touch().unwrap();
    earlier.requeue(Duration::ZERO).unwrap();
    for code in [ErrorCode::TouchFailed, ErrorCode::ReqFailed] {
        let told = timeout(LONG, refused.recv()).await.unwrap().unwrap();
        assert_eq!((told.id, told.code, told.by), (id, code, RefusedBy::Client));
    }
    later.finish_confirmed().await.unwrap();
    until_story(&nsqd, &["RDY 5", FENCE, "FIN 1", FENCE]).await;
}

#[tokio::test(start_paused = true)]
async fn a_touch_moves_the_deadline_but_not_past_what_nsqd_allows() {
    let (nsqd, config) = one_nsqd();
    nsqd.configure(|settings| {
        settings.msg_timeout = Duration::from_secs(10);
        settings.max_msg_timeout = Duration::from_secs(25);
    });
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("long");
    let message = next(&mut consumer).await;
    let first = message.deadline();
    tokio::time::sleep(Duration::from_secs(8)).await;
    message.touch().unwrap();
    assert!((message.deadline() - first).as_secs_f64() - 8.0 < 0.1);
    tokio::time::sleep(Duration::from_secs(9)).await;
    message.touch().unwrap();
    assert!(((message.deadline() - first).as_secs_f64() - 15.0).abs() < 0.1);
    assert_eq!(message.attempts(), 1);
    message.finish().unwrap();
    until_story(&nsqd, &["RDY 5", "TOUCH 1", "TOUCH 1", "FIN 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_touch_before_it_is_not_taken_for_the_confirmation_of_a_finish() {
    let (nsqd, config) = one_nsqd();
    nsqd.configure(|settings| settings.msg_timeout = Duration::from_secs(3));
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("slow");
    let late = next(&mut consumer).await;
    // Given up by nsqd, and not delivered here again.
    consumer.control().pause();
    until_told(&nsqd, "RDY 0").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    late.touch().unwrap();
    let refused = timeout(LONG, late.finish_confirmed()).await.unwrap();
    assert!(
        matches!(&refused, Err(AnswerError::Refused(error)) if error.code == ErrorCode::FinFailed),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn of_two_deliveries_each_is_told_its_own_confirmation() {
    let (nsqd, config) = one_nsqd();
    nsqd.configure(|settings| settings.msg_timeout = Duration::from_secs(3));
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("twice");
    let earlier = next(&mut consumer).await;
    let later = next(&mut consumer).await;
    let (first, second) = tokio::join!(earlier.finish_confirmed(), later.finish_confirmed());
    assert_eq!(timeout(LONG, async { first }).await.unwrap(), Ok(()));
    assert!(matches!(second, Err(AnswerError::Refused(_))), "{second:?}");
}
