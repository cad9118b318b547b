use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nsq::testing::{MockMessage, MockNsqd};
use async_nsq::{BackoffPolicy, Consumer, ConsumerControl, DeadLetters, Failure, Message, RunConfig};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;

use super::support::*;

const GRACE: Duration = Duration::from_secs(10);

/// Runs until dropped, as a task of its own.
fn run<H, F>(config: RunConfig, handler: H) -> (MockNsqd, ConsumerControl)
where
    H: Fn(Arc<Message>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (nsqd, consumer) = one_nsqd();
    let consumer = Consumer::start(consumer).unwrap();
    let control = consumer.control();
    tokio::spawn(consumer.run_with(config, handler));
    (nsqd, control)
}

#[tokio::test(start_paused = true)]
async fn ok_finishes_and_an_error_requeues_with_a_delay_that_grows_with_attempts_to_a_cap() {
    let (nsqd, control) = run(RunConfig::new(4), |message: Arc<Message>| async move {
        let text = std::str::from_utf8(message.body())?;
        text.parse::<u64>()?;
        Ok(())
    });
    nsqd.publish("7");
    until_told(&nsqd, "FIN 1").await;
    for (attempts_before, delay) in [(0, 90_000), (2, 270_000), (9, 900_000), (30, 900_000)] {
        let id = nsqd.publish(MockMessage::new("seven").with_attempts_before(attempts_before));
        let id = id.to_string();
        until_told(&nsqd, &format!("REQ {} {delay}", id.trim_start_matches('0'))).await;
    }
    let stats = control.stats();
    assert_eq!(
        (stats.finished, stats.requeued, stats.failed, stats.panicked),
        (1, 4, 4, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_may_choose_its_delay_and_whether_to_back_off() {
    let (nsqd, mut config) = one_nsqd();
    config.backoff = BackoffPolicy::exponential();
    let consumer = Consumer::start(config).unwrap();
    tokio::spawn(consumer.run(1, |message: Arc<Message>| async move {
        let failure = Failure::new("no").after(Duration::from_secs(5));
        match message.attempts() {
            1 => Err(failure.without_backoff()),
            2 => Err(failure),
            _ => Ok(()),
        }
    }));
    nsqd.publish("picky");
    let expected = [
        "RDY 5",
        "REQ 1 5000",
        "RDY 0",
        "REQ 1 5000",
        "RDY 1",
        "RDY 5",
        "FIN 1",
    ];
    until_story(&nsqd, &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_its_message_alone() {
    let (nsqd, control) = run(RunConfig::new(1), |message: Arc<Message>| {
        assert_ne!(message.body().as_ref(), b"call", "before its future is made");
        async move {
            assert_ne!(message.body().as_ref(), b"run", "while it runs");
            Ok(())
        }
    });
    for body in ["call", "run", "good"] {
        nsqd.publish(body);
    }
    until_story(&nsqd, &["RDY 5", "REQ 1 90000", "REQ 2 90000", "FIN 3"]).await;
    let stats = control.stats();
    assert_eq!((stats.panicked, stats.failed, stats.finished), (2, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn no_more_handlers_run_at_a_time_than_asked_for() {
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, most_seen) = (running.clone(), most.clone());
    let (nsqd, _control) = run(RunConfig::new(3), move |_| {
        let (seen, most_seen) = (seen.clone(), most_seen.clone());
        async move {
            most_seen.fetch_max(seen.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_secs(1)).await;
            seen.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    });
    for number in 0..12 {
        nsqd.publish(format!("m{number}"));
    }
    until_told(&nsqd, "FIN c").await;
    assert_eq!((most.load(Ordering::SeqCst), nsqd.most_in_flight()), (3, 5));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_finished_only_once_its_dead_letter_hook_has_succeeded() {
    let (buried, mut burials) = mpsc::unbounded_channel();
    let full = Arc::new(AtomicUsize::new(1));
    let letters = DeadLetters::after(3, move |message: Arc<Message>, failure: Option<Failure>| {
        let (buried, full) = (buried.clone(), full.clone());
        async move {
            if full.fetch_sub(1, Ordering::SeqCst) == 1 {
                return Err(Failure::new("the graveyard is full"));
            }
            let why = failure.map(|failure| failure.to_string());
            buried.send((message.attempts(), why))?;
            Ok(())
        }
    });
    let mut config = RunConfig::new(1);
    config.requeue_delay = Duration::ZERO;
    config.dead_letters = Some(letters);
    let (nsqd, control) = run(config, |_| async { Err(Failure::new("never")) });
    nsqd.publish("poison");
    // Three attempts, of which the last is to be buried and is not; the fourth time nothing but the hook
    // is tried.
    until_story(&nsqd, &["RDY 5", "REQ 1 0", "REQ 1 0", "REQ 1 0", "FIN 1"]).await;
    assert_eq!(burials.recv().await, Some((4, None)));
    nsqd.publish("more poison");
    assert_eq!(burials.recv().await, Some((3, Some("never".to_owned()))));
    until_told(&nsqd, "FIN 2").await;
    let stats = control.stats();
    assert_eq!((stats.failed, stats.dead_lettered), (6, 2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_for_good_is_buried_at_once_and_a_panicking_hook_buries_nothing() {
    let mut config = RunConfig::new(1);
    let panics = Arc::new(AtomicUsize::new(0));
    let panicking = panics.clone();
    config.dead_letters = Some(DeadLetters::after(100, move |_, _| {
        let first = panicking.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            assert!(!first, "not today");
            Ok(())
        }
    }));
    let (nsqd, _control) = run(config, |_| async { Err(Failure::new("nonsense").for_good()) });
    nsqd.publish("nonsense");
    until_story(&nsqd, &["RDY 5", "REQ 1 90000", "FIN 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_running_handler_keeps_its_message_by_touching_until_nsqd_allows_no_more() {
    let mut config = RunConfig::new(1);
    config.touch = true;
    let (nsqd, control) = run(config, |message: Arc<Message>| async move {
        let work = if message.attempts() == 1 { 100 } else { 20 };
        sleep(Duration::from_secs(work)).await;
        Ok(())
    });
    nsqd.configure(|settings| {
        settings.msg_timeout = Duration::from_secs(10);
        settings.max_msg_timeout = Duration::from_secs(60);
    });
    nsqd.publish("long");
    until_told(&nsqd, "FIN 1").await;
    // One touch each 5 s until the 60 s are reached: at 5, 10, … 50 the deadline is moved to 60.
    let touches = story(&nsqd).iter().filter(|line| *line == "TOUCH 1").count();
    assert_eq!(touches, 10);
    // It was given up at 60 s, and given to the same consumer again, whose one handler was still busy.
    assert_eq!(control.stats().touched, 10);
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_running_handlers_and_aborts_late_ones() {
    for (work, finished, abandoned) in [(5, 2, 0), (60, 0, 2)] {
        let (nsqd, config) = one_nsqd();
        let consumer = Consumer::start(config).unwrap();
        let control = consumer.control();
        let ended = Arc::new(Semaphore::new(0));
        let ending = ended.clone();
        let running = tokio::spawn(consumer.run(2, move |_| {
            let ending = ending.clone();
            async move {
                sleep(Duration::from_secs(work)).await;
                ending.add_permits(1);
                Ok(())
            }
        }));
        for number in 0..4 {
            nsqd.publish(format!("m{number}"));
        }
        until_in_flight(&control, 4).await;
        let drained = control.drain(GRACE).await;
        assert_eq!(running.await.unwrap().unwrap(), drained);
        assert_eq!(
            (drained.finished, drained.requeued, drained.abandoned),
            (finished, 2, abandoned)
        );
        assert_eq!(nsqd.in_flight(), 0, "nothing waits for its timeout");
        sleep(LONG).await;
        assert_eq!(ended.available_permits(), finished, "late handlers are aborted");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_requeues_what_its_handlers_held() {
    let (nsqd, config) = one_nsqd();
    let consumer = Consumer::start(config).unwrap();
    let control = consumer.control();
    let running = tokio::spawn(consumer.run(2, |_| std::future::pending()));
    nsqd.publish("held");
    until_in_flight(&control, 1).await;
    running.abort();
    until_told(&nsqd, "REQ 1 0").await;
    control.drained().await;
    assert_eq!((nsqd.in_flight(), nsqd.connections()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_of_no_handlers_at_all_is_refused() {
    let (_nsqd, config) = one_nsqd();
    let consumer = Consumer::start(config).unwrap();
    let refused = consumer.run(0, |_| async { Ok(()) }).await.unwrap_err();
    assert_eq!(refused.field, "concurrency");
}

#[tokio::test(start_paused = true)]
async fn a_handler_whose_nsqd_goes_away_within_a_drain_has_until_the_deadline() {
    let (nsqd, config) = one_nsqd();
    let consumer = Consumer::start(config).unwrap();
    let control = consumer.control();
    let ended = Arc::new(Semaphore::new(0));
    let ending = ended.clone();
    let running = tokio::spawn(consumer.run(1, move |_| {
        let ending = ending.clone();
        async move {
            sleep(Duration::from_secs(5)).await;
            ending.add_permits(1);
            Ok(())
        }
    }));
    nsqd.publish("held");
    until_in_flight(&control, 1).await;
    let draining = tokio::spawn({
        let control = control.clone();
        async move { control.drain(GRACE).await }
    });
    until_told(&nsqd, "CLS").await;
    nsqd.disconnect();
    draining.await.unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(ended.available_permits(), 1, "its work is worth its end");
    assert_eq!(
        control.in_flight(),
        0,
        "nothing is in flight without a connection"
    );
}
