use std::time::Duration;

use async_nsq::testing::{MockNetwork, MockNsqd, Verb};
use async_nsq::{BackoffPolicy, BackoffState, Consumer};
use tokio::time::{Instant, timeout};

use super::support::*;

const NONE: Duration = Duration::ZERO;

fn backing_off() -> (MockNsqd, Consumer) {
    let (nsqd, mut config) = one_nsqd();
    config.backoff = BackoffPolicy::exponential();
    (nsqd, Consumer::start(config).unwrap())
}

/// The seconds between each two commands of this kind.
fn seconds_between(nsqd: &MockNsqd, verb: Verb) -> Vec<u64> {
    let recorded = nsqd.recorded();
    let of_kind = recorded.iter().filter(|recorded| recorded.command.verb() == verb);
    let times: Vec<Instant> = of_kind.map(|recorded| recorded.at).collect();
    times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn rdy_goes_out_before_the_answer_that_changes_it_and_one_message_is_the_test() {
    let (nsqd, mut consumer) = backing_off();
    for body in ["one", "two", "three"] {
        nsqd.publish(body);
        next(&mut consumer).await.finish().unwrap();
    }
    nsqd.publish("bad");
    next(&mut consumer).await.requeue(NONE).unwrap();
    next(&mut consumer).await.requeue(NONE).unwrap();
    next(&mut consumer).await.finish().unwrap();
    nsqd.publish("good");
    next(&mut consumer).await.finish().unwrap();
    let expected = [
        "RDY 5", "FIN 1", "FIN 2", "FIN 3", "RDY 0", "REQ 4 0", "RDY 1", "RDY 0", "REQ 4 0", "RDY 1",
        "RDY 0", "FIN 4", "RDY 1", "RDY 5", "FIN 5",
    ];
    until_story(&nsqd, &expected).await;
    // From RDY 0 to RDY 1: two seconds at level 1, four at level 2, two again on the way down.
    assert_eq!(seconds_between(&nsqd, Verb::Ready), [0, 2, 0, 4, 0, 2, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_requeue_without_backoff_and_a_dropped_message_change_no_rdy() {
    let (nsqd, mut consumer) = backing_off();
    nsqd.publish("not now");
    next(&mut consumer).await.requeue_without_backoff(NONE).unwrap();
    drop(next(&mut consumer).await);
    next(&mut consumer).await.finish().unwrap();
    until_story(&nsqd, &["RDY 5", "REQ 1 0", "REQ 1 0", "FIN 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_policy_failures_change_no_rdy() {
    let (nsqd, config) = one_nsqd();
    let mut consumer = Consumer::start(config).unwrap();
    nsqd.publish("bad");
    for _ in 0..3 {
        next(&mut consumer).await.requeue(NONE).unwrap();
    }
    until_story(&nsqd, &["RDY 5", "REQ 1 0", "REQ 1 0", "REQ 1 0"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_requeue_without_backoff_during_a_test_keeps_the_level() {
    let (nsqd, mut consumer) = backing_off();
    nsqd.publish("bad");
    next(&mut consumer).await.requeue(NONE).unwrap();
    next(&mut consumer).await.requeue_without_backoff(NONE).unwrap();
    next(&mut consumer).await.finish().unwrap();
    let expected = [
        "RDY 5", "RDY 0", "REQ 1 0", "RDY 1", "RDY 0", "REQ 1 0", "RDY 1", "RDY 5", "FIN 1",
    ];
    until_story(&nsqd, &expected).await;
    assert_eq!(seconds_between(&nsqd, Verb::Ready), [0, 2, 0, 2, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_made_during_backoff_gets_one_message_as_the_test_and_then_all() {
    let (nsqd, mut consumer) = backing_off();
    nsqd.publish("bad");
    next(&mut consumer).await.requeue(NONE).unwrap();
    until_story(&nsqd, &["RDY 5", "RDY 0", "REQ 1 0"]).await;
    nsqd.disconnect();
    next(&mut consumer).await.finish().unwrap();
    let expected = ["RDY 5", "RDY 0", "REQ 1 0", "RDY 1", "RDY 5", "FIN 1"];
    until_story(&nsqd, &expected).await;
    let recorded = nsqd.recorded();
    assert!(recorded.iter().any(|recorded| recorded.connection == 1));
    assert_eq!(seconds_between(&nsqd, Verb::Ready), [0, 2, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_dies_with_the_test_message_passes_the_test_on() {
    let network = MockNetwork::new();
    let nsqds = [network.nsqd("a:1"), network.nsqd("b:1")];
    let mut config = config(&network, &["a:1", "b:1"]);
    config.backoff = BackoffPolicy::exponential();
    let mut consumer = Consumer::start(config).unwrap();
    nsqds[0].publish("bad");
    next(&mut consumer).await.requeue(NONE).unwrap();
    // The test goes to whoever has a message, and that one dies with it.
    let tested = next(&mut consumer).await;
    nsqds[0].refuse_connections(true);
    nsqds[0].disconnect();
    nsqds[1].publish("good");
    let other = next(&mut consumer).await;
    assert_eq!(other.body(), "good");
    assert!(tested.requeue(NONE).is_err());
    other.finish().unwrap();
    let all = async {
        while consumer.control().state().backoff != BackoffState::Inactive {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, all).await.unwrap();
    // What the lost connection had is given to the other as soon as nsqd has certainly noticed.
    let told = || story(&nsqds[1]);
    let full = async {
        while !told().contains(&"RDY 5".to_owned()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, full).await.unwrap();
    let told = told();
    let finished = told.iter().position(|sent| sent == "FIN 1").unwrap();
    let before = &told[finished - 1];
    assert!(["RDY 4", "RDY 5"].contains(&before.as_str()), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn backing_off_stops_every_connection_and_only_one_is_tested() {
    let network = MockNetwork::new();
    let nsqds: Vec<MockNsqd> = ["a:1", "b:1", "c:1"].map(|address| network.nsqd(address)).into();
    let mut config = config(&network, &["a:1", "b:1", "c:1"]);
    config.max_in_flight = 6;
    config.backoff = BackoffPolicy::exponential();
    let mut consumer = Consumer::start(config).unwrap();
    for nsqd in &nsqds {
        until_told(nsqd, "RDY 2").await;
    }
    let failed = Instant::now();
    nsqds[1].publish("bad");
    next(&mut consumer)
        .await
        .requeue(Duration::from_secs(3600))
        .unwrap();
    for nsqd in &nsqds {
        // They come while nothing is taken.
        until_told(nsqd, "RDY 0").await;
        nsqd.publish("waiting");
    }
    let test = next(&mut consumer).await;
    assert_eq!(failed.elapsed().as_secs(), 2);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let in_flight: usize = nsqds.iter().map(MockNsqd::in_flight).sum();
    assert_eq!(in_flight, 1, "no second message before the first is answered");
    test.finish().unwrap();
    for _ in 0..2 {
        next(&mut consumer).await.finish().unwrap();
    }
    assert_eq!(consumer.control().state().backoff, BackoffState::Inactive);
}

#[tokio::test(start_paused = true)]
async fn a_pause_and_its_end_are_two_commands_and_nothing_else() {
    let (nsqd, mut consumer) = backing_off();
    let control = consumer.control();
    nsqd.publish("before");
    next(&mut consumer).await.finish().unwrap();
    control.set_max_in_flight(0);
    until_story(&nsqd, &["RDY 5", "FIN 1", "RDY 0"]).await;
    nsqd.publish("during");
    assert!(
        timeout(LONG, consumer.next()).await.is_err(),
        "nothing comes in a pause"
    );
    control.set_max_in_flight(5);
    next(&mut consumer).await.finish().unwrap();
    until_story(&nsqd, &["RDY 5", "FIN 1", "RDY 0", "RDY 5", "FIN 2"]).await;

    control.pause();
    let paused = ["RDY 5", "FIN 1", "RDY 0", "RDY 5", "FIN 2", "RDY 0"];
    until_story(&nsqd, &paused).await;
    control.resume();
    until_story(&nsqd, &[paused.as_slice(), &["RDY 5"]].concat()).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_outlasts_a_backoff_that_ends_within_it() {
    let (nsqd, mut consumer) = backing_off();
    let control = consumer.control();
    nsqd.publish("bad");
    next(&mut consumer).await.requeue(NONE).unwrap();
    control.pause();
    assert!(
        timeout(LONG, consumer.next()).await.is_err(),
        "nothing comes in a pause"
    );
    assert_eq!(control.state().backoff, BackoffState::Testing { level: 1 });
    control.resume();
    next(&mut consumer).await.finish().unwrap();
    until_story(&nsqd, &["RDY 5", "RDY 0", "REQ 1 0", "RDY 1", "RDY 5", "FIN 1"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_state_tells_of_every_step_of_a_backoff() {
    let (nsqd, mut consumer) = backing_off();
    let mut state = consumer.control().watch_state();
    nsqd.publish("bad");
    let failing = next(&mut consumer).await;
    let failed = Instant::now();
    failing.requeue(NONE).unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        timeout(LONG, state.changed()).await.unwrap().unwrap();
        let backoff = state.borrow_and_update().backoff;
        if seen.last() != Some(&backoff) && (backoff != BackoffState::Inactive || !seen.is_empty()) {
            seen.push(backoff);
        }
        if backoff == (BackoffState::Testing { level: 1 }) {
            next(&mut consumer).await.finish().unwrap();
        }
    }
    let until = failed + Duration::from_secs(2);
    assert!(
        matches!(seen[0], BackoffState::Waiting { level: 1, until: told } if told - until < Duration::from_millis(5))
    );
    assert_eq!(
        seen[1..],
        [BackoffState::Testing { level: 1 }, BackoffState::Inactive]
    );
}

#[tokio::test(start_paused = true)]
async fn a_jittered_wait_ends_no_later_than_one_without_jitter() {
    for _ in 0..20 {
        let (nsqd, mut config) = one_nsqd();
        config.backoff = BackoffPolicy::full_jitter();
        let mut consumer = Consumer::start(config).unwrap();
        nsqd.publish("bad");
        for most in [2, 4, 8] {
            let failing = next(&mut consumer).await;
            failing.requeue(NONE).unwrap();
            let failed = Instant::now();
            let again = next(&mut consumer).await;
            assert!(failed.elapsed() <= Duration::from_secs(most) + Duration::from_millis(5));
            again.requeue_without_backoff(NONE).unwrap();
            // That was the test; the next one is for the next level.
        }
        drop(consumer);
    }
}
