//! Hanging up after every byte of what a consumer waits for. Time is paused: it passes while everybody waits.

use std::time::Duration;

use async_nsq::{AnswerError, Consumer, ConsumerState};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::nsqd::{Delivery, Served, serve};
use crate::server::*;

/// Acts up to where messages may come.
fn subscribed() -> Vec<Act> {
    vec![
        Act::Await("IDENTIFY"),
        Act::Say(ok()),
        Act::Await("SUB t ch"),
        Act::Say(ok()),
        Act::Await("RDY"),
    ]
}

async fn assert_tells_that_it_was_hung_up_on(mut state: watch::Receiver<ConsumerState>) {
    let failed = state.wait_for(|state| state.last_error.is_some());
    let failed = timeout(LIMIT, failed).await.unwrap().unwrap().clone();
    assert!(is_hung_up(failed.last_error.as_ref().unwrap()), "{failed:?}");
}

/// The first connection is played, and the second served with this message.
fn served_at_the_second(acts: Vec<Act>, message: Delivery) -> (Consumer, tokio::task::JoinHandle<Served>) {
    let (config, mut servers) = accepted(PIPE);
    let serving = tokio::spawn(async move {
        play(servers.recv().await.unwrap(), acts).await;
        serve(servers.recv().await.unwrap(), vec![message]).await
    });
    (consumer(config), serving)
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_at_any_byte_of_the_answer_to_a_subscription_is_subscribed_to_again() {
    let answer = [heartbeat(), ok()].concat();
    for cut in 0..answer.len() {
        let acts = vec![
            Act::Await("IDENTIFY"),
            Act::Say(ok()),
            Act::Await("SUB t ch"),
            Act::Say(answer[..cut].to_vec()),
            Act::HangUp,
        ];
        let (mut consumer, serving) = served_at_the_second(acts, Delivery::new(1, "hello"));
        assert_tells_that_it_was_hung_up_on(consumer.control().watch_state()).await;
        let message = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
        assert_eq!(message.body(), "hello");
        message.finish().unwrap();
        consumer.close(LIMIT).await;
        let served = timeout(LIMIT, serving).await.unwrap().unwrap();
        assert_eq!((served.count("SUB", None), served.count("FIN", None)), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_cut_at_any_byte_is_not_handed_out_and_the_whole_one_behind_it_is_once() {
    let message = Delivery::new(1, "hello");
    let whole = message.frame();
    for cut in 0..whole.len() {
        let said = [&heartbeat(), &whole[..cut]].concat();
        let acts = [subscribed(), vec![Act::Say(said), Act::HangUp]].concat();
        let (mut consumer, serving) = served_at_the_second(acts, message.clone().again());
        let control = consumer.control();
        assert_tells_that_it_was_hung_up_on(control.watch_state()).await;
        let received = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
        assert_eq!((received.body(), received.attempts()), (&"hello".into(), 2));
        received.finish().unwrap();
        // Nothing comes any more, however long one waits.
        assert!(timeout(LIMIT / 2, consumer.next()).await.is_err());
        assert_eq!(control.stats().received, 1, "after {cut} bytes");
        let drained = consumer.close(LIMIT).await;
        assert_eq!((drained.requeued, drained.abandoned), (0, 0));
        let served = timeout(LIMIT, serving).await.unwrap().unwrap();
        assert_eq!(served.count("FIN", Some(&message)), 1);
        assert_eq!(served.unanswered, 0);
    }
}

/// A part that delivers two messages and says so much of CLOSE_WAIT.
fn closing_in_part(cut: usize) -> Vec<Act> {
    let messages = [Delivery::new(1, "one").frame(), Delivery::new(2, "two").frame()].concat();
    let granted = frame(0, b"CLOSE_WAIT");
    let acts = vec![
        Act::Say(messages),
        Act::Await("CLS"),
        Act::Say(granted[..cut.min(granted.len())].to_vec()),
    ];
    [subscribed(), acts].concat()
}

fn bytes_of_close_wait() -> usize {
    frame(0, b"CLOSE_WAIT").len()
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_at_any_byte_of_the_answer_to_a_close_ends_the_drain_at_once() {
    for cut in 0..=bytes_of_close_wait() {
        for holds in [false, true] {
            let acts = [closing_in_part(cut), vec![Act::HangUp]].concat();
            let mut consumer = consumer(playing(acts));
            let control = consumer.control();
            let first = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
            let second = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
            second.finish().unwrap();
            let held = if holds {
                Some(first)
            } else {
                first.finish().unwrap();
                None
            };
            let began = Instant::now();
            let drained = timeout(LIMIT * 2, control.drain(LIMIT)).await.unwrap();
            let took = began.elapsed();
            assert!(took < Duration::from_secs(1), "after {cut} bytes: {took:?}");
            assert_eq!(drained.requeued, 0, "after {cut} bytes: {drained:?}");
            assert!(control.state().closed);
            if let Some(held) = held {
                assert_eq!(held.finish(), Err(AnswerError::ConnectionLost));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_falls_silent_at_any_byte_of_the_answer_to_a_close_ends_the_drain_at_its_deadline() {
    let limit = Duration::from_secs(5);
    for cut in 0..bytes_of_close_wait() {
        let mut consumer = consumer(playing(closing_in_part(cut)));
        let held = timeout(LIMIT, consumer.next()).await.unwrap().unwrap();
        let began = Instant::now();
        let drained = timeout(LIMIT, consumer.close(limit)).await.unwrap();
        let took = began.elapsed();
        assert!(
            (limit..=limit + Duration::from_secs(1)).contains(&took),
            "after {cut} bytes: {took:?}"
        );
        assert_eq!((drained.requeued, drained.abandoned), (1, 1));
        assert_eq!(held.finish(), Err(AnswerError::ConnectionLost));
    }
}
