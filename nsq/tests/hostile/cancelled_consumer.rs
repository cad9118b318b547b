//! A consumer's calls given up at every point where they wait. Time is paused.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nsq::{Consumer, Message};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, timeout};

use crate::giving_up::{MOST, polled, polled_in_time, step_by_step};
use crate::nsqd::{Delivery, Served, serve};
use crate::server::*;

/// So small that no command is written in one go.
const NARROW: usize = 16;
/// Longer than anything takes to come, where time is paused.
const QUIET: Duration = Duration::from_secs(1);

fn served(messages: &[Delivery]) -> (Consumer, JoinHandle<Served>) {
    let (config, mut servers) = accepted(NARROW);
    let messages = messages.to_vec();
    let serving = tokio::spawn(async move { serve(servers.recv().await.unwrap(), messages).await });
    (consumer(config), serving)
}

fn messages() -> Vec<Delivery> {
    ["one", "two", "three", "four", "five", "six", "seven", "eight"]
        .into_iter()
        .zip(1..)
        .map(|(body, number)| Delivery::new(number, body))
        .collect()
}

/// Finishes all that comes.
async fn finish_the_rest(consumer: &mut Consumer) {
    while let Ok(Some(message)) = timeout(QUIET, consumer.next()).await {
        message.finish().unwrap();
    }
}

/// Closes the consumer, and looks at the connection from the other side: all that was said is whole commands,
/// nothing was left unanswered, and each message was finished once.
async fn assert_all_finished_once(consumer: Consumer, serving: JoinHandle<Served>, messages: &[Delivery]) {
    let drained = timeout(LIMIT, consumer.close(LIMIT)).await.unwrap();
    assert_eq!(drained.abandoned, 0);
    let served = timeout(LIMIT, serving).await.unwrap().unwrap();
    for message in messages {
        assert_eq!(served.count("FIN", Some(message)), 1, "{message:?}: {served:?}");
    }
    assert_eq!((served.count("CLS", None), served.unanswered), (1, 0));
}

/// Answers in one way after the other.
async fn answer(message: Message) {
    message.touch().unwrap();
    yield_now().await;
    message.touch().unwrap();
    match (&message.body()[..], message.attempts()) {
        (b"one" | b"five", 1) => message.requeue(Duration::ZERO).unwrap(),
        (b"two" | b"six", _) => message.finish_confirmed().await.unwrap(),
        (b"three" | b"seven", 1) => drop(message),
        _ => message.finish().unwrap(),
    }
}

#[test]
fn work_given_up_at_any_point_leaves_whole_answers_and_a_consumer_that_goes_on() {
    step_by_step(async {
        let messages = messages();
        for times in 0..MOST {
            let (mut consumer, serving) = served(&messages);
            let working = async {
                // Four come a second time.
                for _ in 0..messages.len() + 4 {
                    answer(consumer.next().await.unwrap()).await;
                }
            };
            let done = polled(working, times).await;
            finish_the_rest(&mut consumer).await;
            assert_all_finished_once(consumer, serving, &messages).await;
            if done.is_some() {
                return;
            }
        }
        panic!("not done after {MOST} polls");
    });
}

#[test]
fn a_confirmation_given_up_at_any_point_leaves_the_message_finished_once_it_was_polled() {
    step_by_step(async {
        let messages = messages();
        for times in 0..MOST {
            let (mut consumer, serving) = served(&messages);
            let first = consumer.next().await.unwrap();
            let confirmed = polled(first.finish_confirmed(), times).await;
            finish_the_rest(&mut consumer).await;
            let requeued = consumer.control().stats().requeued;
            assert_eq!(requeued, u64::from(times == 0), "after {times} polls");
            assert_all_finished_once(consumer, serving, &messages).await;
            if let Some(confirmed) = confirmed {
                confirmed.unwrap();
                return;
            }
        }
        panic!("not confirmed after {MOST} polls");
    });
}

/// How a consumer is asked to end.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Close,
    Drain,
}

/// When the message that was handed out is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    /// Before the end is asked for.
    Before,
    /// As soon as that is given up.
    After,
    /// Once everything is over.
    TooLate,
}

/// Ends a consumer of two messages, of which one was handed out, and gives that up after every number of polls
/// until it is done.
async fn assert_ends(ending: Ending, answered: Answered) {
    let limit = Duration::from_millis(20);
    let (first, second) = (Delivery::new(1, "one"), Delivery::new(2, "two"));
    for times in 1..MOST {
        let (mut consumer, serving) = served(&[first.clone(), second.clone()]);
        let control = consumer.control();
        let message = consumer.next().await.unwrap();
        let message = Cell::new(Some(message));
        let finish = || message.take().is_none_or(|message| message.finish().is_ok());
        while control.in_flight() < 2 {
            yield_now().await;
        }
        if answered == Answered::Before {
            assert!(finish());
        }
        let (ended, kept) = match ending {
            Ending::Close => (polled_in_time(consumer.close(limit), times).await, None),
            Ending::Drain => (polled_in_time(control.drain(limit), times).await, Some(consumer)),
        };
        let in_time = answered != Answered::TooLate && finish();
        let given_up_at = Instant::now();
        let drained = timeout(LIMIT, control.drained()).await.unwrap();
        assert!(given_up_at.elapsed() < limit * 5, "it forgot its deadline");
        assert!(control.state().closed);
        assert_eq!(finish(), in_time || answered != Answered::TooLate);
        drop(kept);

        let served = timeout(LIMIT, serving).await.unwrap().unwrap();
        let case = format!("{ending:?}, {answered:?}, after {times} polls: {served:?}");
        assert_eq!(
            (drained.requeued, drained.abandoned),
            (1, usize::from(!in_time)),
            "{case}"
        );
        assert_eq!((served.count("CLS", None), served.unanswered), (1, 0), "{case}");
        let answers = |message| {
            (
                served.count("FIN", Some(message)),
                served.count("REQ", Some(message)),
            )
        };
        let of_first = (usize::from(in_time), usize::from(!in_time));
        assert_eq!(answers(&first), of_first, "{case}");
        assert_eq!(answers(&second), (0, 1), "{case}");
        if let Some(told) = ended {
            assert_eq!(told, drained, "{case}");
            return;
        }
    }
    panic!("not ended after {MOST} polls");
}

#[test]
fn a_drain_given_up_at_any_point_goes_on_to_its_end() {
    step_by_step(async {
        for answered in [Answered::Before, Answered::After, Answered::TooLate] {
            assert_ends(Ending::Drain, answered).await;
        }
    });
}

#[test]
fn a_close_of_a_consumer_given_up_at_any_point_goes_on_to_its_end() {
    step_by_step(async {
        for answered in [Answered::Before, Answered::After, Answered::TooLate] {
            assert_ends(Ending::Close, answered).await;
        }
    });
}

#[test]
fn a_run_given_up_at_any_point_gives_back_what_it_had_begun_and_closes() {
    let messages = messages();
    step_by_step(async {
        for times in 0..MOST {
            let (consumer, serving) = served(&messages);
            let control = consumer.control();
            let mut state = control.watch_state();
            state.wait_for(|state| state.connected == 1).await.unwrap();
            let handled = Arc::new(AtomicUsize::new(0));
            let counter = handled.clone();
            let running = async {
                let running = consumer.run(3, move |message| {
                    let handled = counter.clone();
                    async move {
                        message.touch()?;
                        yield_now().await;
                        handled.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    }
                });
                let ending = async {
                    while control.stats().finished < messages.len() as u64 {
                        yield_now().await;
                    }
                    control.drain(LIMIT).await
                };
                tokio::join!(running, ending)
            };
            let done = polled_in_time(running, times).await;
            let handled_by_then = handled.load(Ordering::Relaxed);
            timeout(LIMIT, control.drained()).await.unwrap();
            let served = timeout(LIMIT, serving).await.unwrap().unwrap();
            let case = format!("after {times} polls: {served:?}");
            assert_eq!(served.unanswered, 0, "{case}");
            for message in &messages {
                assert!(served.count("FIN", Some(message)) <= 1, "{message:?}: {case}");
            }
            assert_eq!(served.count("FIN", None), handled_by_then, "{case}");
            if let Some((drained, _)) = done {
                assert_eq!(drained.unwrap().abandoned, 0);
                assert_eq!(handled_by_then, messages.len());
                return;
            }
        }
        panic!("not done after {MOST} polls");
    });
}
