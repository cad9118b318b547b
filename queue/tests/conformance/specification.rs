//! What both back ends promise.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use safelight_queue::{CHANNEL, Delivery, QueueError, Subscription, TOPIC_IMAGES, decode_id, encode_id};
use tokio::time::{Instant, timeout};

use crate::backend::{Backend, HOLD};

/// Everything here ends long before, unless it is broken.
const LIMIT: Duration = Duration::from_secs(20);
/// Long enough for something wrong to show.
const QUIET: Duration = Duration::from_millis(500);

fn subscribe(backend: &Backend, max_in_flight: u32) -> Subscription {
    backend
        .queue
        .subscribe(TOPIC_IMAGES, CHANNEL, max_in_flight)
        .unwrap()
}

async fn publish(backend: &Backend, ids: impl IntoIterator<Item = i64>) {
    let bodies: Vec<Bytes> = ids.into_iter().map(encode_id).collect();
    backend.queue.publish(TOPIC_IMAGES, &bodies).await.unwrap();
}

async fn next(subscription: &mut Subscription) -> Delivery {
    let delivery = timeout(LIMIT, subscription.next()).await;
    delivery
        .expect("a delivery comes in time")
        .expect("the subscription is open")
}

async fn nothing_comes(subscription: &mut Subscription) {
    if let Ok(delivery) = timeout(QUIET, subscription.next()).await {
        panic!("delivered: {delivery:?}");
    }
}

fn id(delivery: &Delivery) -> i64 {
    decode_id(delivery.body()).expect("an id")
}

/// Finishes deliveries until all these ids have come; tells how often each came.
async fn finish_all(
    subscription: &mut Subscription,
    ids: impl IntoIterator<Item = i64>,
) -> BTreeMap<i64, u32> {
    let mut missing: BTreeSet<i64> = ids.into_iter().collect();
    let mut seen = BTreeMap::new();
    while !missing.is_empty() {
        let delivery = next(subscription).await;
        missing.remove(&id(&delivery));
        *seen.entry(id(&delivery)).or_insert(0) += 1;
        delivery.finish().await.unwrap();
    }
    seen
}

pub(crate) async fn what_is_published_is_delivered_and_once_finished_does_not_come_again(backend: Backend) {
    let mut subscription = subscribe(&backend, 8);
    publish(&backend, [7]).await;
    let delivery = next(&mut subscription).await;
    assert_eq!((id(&delivery), delivery.attempts()), (7, 1));
    delivery.finish().await.unwrap();
    // Longer than a message is held, which would bring it back if it were not finished.
    let again = timeout(HOLD + QUIET, subscription.next()).await;
    assert!(again.is_err(), "{again:?}");
    assert_eq!(backend.queue.ready(), Ok(()));
}

pub(crate) async fn a_batch_of_a_thousand_is_delivered_whole(backend: Backend) {
    publish(&backend, 1..=1000).await;
    let mut subscription = subscribe(&backend, 64);
    let seen = finish_all(&mut subscription, 1..=1000).await;
    assert!(seen.values().all(|&times| times == 1), "{seen:?}");
}

pub(crate) async fn what_was_published_before_the_subscription_is_delivered(backend: Backend) {
    publish(&backend, [1]).await;
    let mut subscription = subscribe(&backend, 8);
    finish_all(&mut subscription, [1]).await;
}

pub(crate) async fn a_requeued_delivery_comes_again_after_its_delay_and_counts_its_attempts(
    backend: Backend,
) {
    let mut subscription = subscribe(&backend, 8);
    publish(&backend, [1]).await;
    let delay = Duration::from_millis(600);
    for attempt in 1..=3 {
        let delivery = next(&mut subscription).await;
        assert_eq!(delivery.attempts(), attempt);
        let requeued = Instant::now();
        delivery.requeue(delay).await.unwrap();
        // A message that is due earlier is not held up.
        publish(&backend, [100 + i64::from(attempt)]).await;
        finish_all(&mut subscription, [100 + i64::from(attempt)]).await;
        assert!(requeued.elapsed() < delay, "{:?}", requeued.elapsed());
        assert!(timeout(delay / 3, subscription.next()).await.is_err());
    }
    next(&mut subscription).await.finish().await.unwrap();
}

pub(crate) async fn a_delivery_dropped_unanswered_comes_again_at_once(backend: Backend) {
    let mut subscription = subscribe(&backend, 1);
    publish(&backend, [1]).await;
    let dropped = Instant::now();
    drop(next(&mut subscription).await);
    let again = next(&mut subscription).await;
    assert_eq!(again.attempts(), 2);
    assert!(dropped.elapsed() < HOLD, "{:?}", dropped.elapsed());
    again.finish().await.unwrap();
}

pub(crate) async fn a_delivery_that_is_held_too_long_comes_again(backend: Backend) {
    let mut subscription = subscribe(&backend, 8);
    publish(&backend, [1]).await;
    let held = next(&mut subscription).await;
    let again = next(&mut subscription).await;
    assert_eq!((id(&again), again.attempts()), (1, 2));
    again.finish().await.unwrap();
    // The first holder's answer comes too late, and does no harm.
    let _ = held.finish().await;
    nothing_comes(&mut subscription).await;
}

pub(crate) async fn a_touched_delivery_does_not_come_again(backend: Backend) {
    let mut subscription = subscribe(&backend, 8);
    publish(&backend, [1]).await;
    let held = next(&mut subscription).await;
    let taken = Instant::now();
    while taken.elapsed() < HOLD * 2 {
        held.touch().await.unwrap();
        let again = timeout(HOLD / 4, subscription.next()).await;
        assert!(again.is_err(), "{again:?}");
    }
    held.finish().await.unwrap();
    let again = timeout(HOLD + QUIET, subscription.next()).await;
    assert!(again.is_err(), "{again:?}");
}

pub(crate) async fn no_more_are_unanswered_than_max_in_flight(backend: Backend) {
    let mut subscription = subscribe(&backend, 3);
    publish(&backend, 1..=10).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut subscription).await);
    }
    nothing_comes(&mut subscription).await;
    let mut seen: BTreeSet<i64> = held.iter().map(id).collect();
    for delivery in held {
        delivery.finish().await.unwrap();
    }
    let rest: Vec<i64> = (1..=10).filter(|id| !seen.contains(id)).collect();
    seen.extend(finish_all(&mut subscription, rest).await.into_keys());
    assert_eq!(seen, (1..=10).collect());
}

pub(crate) async fn two_subscriptions_of_a_channel_share_its_messages(backend: Backend) {
    let (mut one, mut other) = (subscribe(&backend, 1), subscribe(&backend, 1));
    publish(&backend, [1, 2]).await;
    // Each holds one, so neither can take both.
    let (first, second) = tokio::join!(next(&mut one), next(&mut other));
    assert_eq!(BTreeSet::from([id(&first), id(&second)]), BTreeSet::from([1, 2]));
    first.finish().await.unwrap();
    second.finish().await.unwrap();
    tokio::join!(nothing_comes(&mut one), nothing_comes(&mut other));
}

pub(crate) async fn topics_do_not_mix(backend: Backend) {
    let mut images = subscribe(&backend, 8);
    let mut videos = backend.queue.subscribe("videos", CHANNEL, 8).unwrap();
    publish(&backend, [1]).await;
    backend.queue.publish("videos", &[encode_id(2)]).await.unwrap();
    assert_eq!(
        finish_all(&mut images, [1]).await.into_keys().collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(
        finish_all(&mut videos, [2]).await.into_keys().collect::<Vec<_>>(),
        [2]
    );
    tokio::join!(nothing_comes(&mut images), nothing_comes(&mut videos));
}

pub(crate) async fn a_pause_stops_the_flow_and_resuming_continues_it(backend: Backend) {
    let mut subscription = subscribe(&backend, 8);
    publish(&backend, [1]).await;
    finish_all(&mut subscription, [1]).await;
    let control = subscription.control();
    control.pause();
    control.clone().pause();
    // What is on its way when the pause begins may still come; once it is quiet, it stays so.
    nothing_comes(&mut subscription).await;
    publish(&backend, [2, 3]).await;
    nothing_comes(&mut subscription).await;
    control.resume();
    control.resume();
    finish_all(&mut subscription, [2, 3]).await;
}

pub(crate) async fn fewer_are_unanswered_while_fewer_are_allowed(backend: Backend) {
    let mut subscription = subscribe(&backend, 4);
    let control = subscription.control();
    publish(&backend, 1..=8).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(next(&mut subscription).await);
    }
    control.set_max_in_flight(1);
    for delivery in held.drain(1..) {
        delivery.finish().await.unwrap();
        nothing_comes(&mut subscription).await;
    }
    for _ in 0..2 {
        held.remove(0).finish().await.unwrap();
        held.push(next(&mut subscription).await);
        nothing_comes(&mut subscription).await;
    }
    // More than was subscribed with is never allowed.
    control.set_max_in_flight(100);
    for _ in 0..2 {
        held.push(next(&mut subscription).await);
    }
    assert_eq!(held.len(), 3, "1 to 8 without the five that are finished");
    for delivery in held {
        delivery.finish().await.unwrap();
    }
}

pub(crate) async fn closing_gives_back_what_was_not_begun_and_waits_for_what_was(backend: Backend) {
    let mut closing = subscribe(&backend, 8);
    publish(&backend, 1..=8).await;
    let begun = next(&mut closing).await;
    let begun_id = id(&begun);
    let closed = tokio::spawn(async move { closing.close(LIMIT).await });

    let mut other = subscribe(&backend, 8);
    let given_back = Instant::now();
    let others: Vec<i64> = (1..=8).filter(|&id| id != begun_id).collect();
    finish_all(&mut other, others).await;
    assert!(
        given_back.elapsed() < HOLD,
        "given back, and not timed out: {:?}",
        given_back.elapsed()
    );
    assert!(!closed.is_finished(), "one is still held");
    begun.finish().await.unwrap();
    timeout(LIMIT / 2, closed)
        .await
        .expect("closing ends with the last answer")
        .unwrap();
    let again = timeout(HOLD + QUIET, other.next()).await;
    assert!(again.is_err(), "{again:?}");
}

pub(crate) async fn closing_ends_at_its_limit(backend: Backend) {
    let mut subscription = subscribe(&backend, 8);
    publish(&backend, [1]).await;
    let held = next(&mut subscription).await;
    let begun = Instant::now();
    timeout(LIMIT, subscription.close(Duration::from_millis(200)))
        .await
        .unwrap();
    assert!(begun.elapsed() < HOLD, "{:?}", begun.elapsed());
    drop(held);
    let mut other = subscribe(&backend, 8);
    finish_all(&mut other, [1]).await;
}

pub(crate) async fn a_dropped_subscription_gives_back_what_was_not_begun(backend: Backend) {
    let mut dropped = subscribe(&backend, 8);
    publish(&backend, 1..=4).await;
    let begun = next(&mut dropped).await;
    let begun_id = id(&begun);
    drop(dropped);
    let given_back = Instant::now();
    let mut other = subscribe(&backend, 8);
    finish_all(&mut other, (1..=4).filter(|&id| id != begun_id)).await;
    assert!(given_back.elapsed() < HOLD, "{:?}", given_back.elapsed());
    begun.finish().await.unwrap();
}

pub(crate) async fn a_next_that_is_dropped_loses_nothing(backend: Backend) {
    let mut subscription = subscribe(&backend, 4);
    publish(&backend, 1..=200).await;
    let mut seen = BTreeSet::new();
    while seen.len() < 200 {
        // Dropped after its first poll, unless that found something.
        let Some(delivery) = subscription.next().now_or_never().flatten() else {
            tokio::task::yield_now().await;
            continue;
        };
        assert!(seen.insert(id(&delivery)), "twice");
        delivery.finish().await.unwrap();
    }
}

pub(crate) async fn bad_names_empty_messages_and_limits_are_refused(backend: Backend) {
    let queue = &backend.queue;
    let refused = |error: &QueueError| matches!(error, QueueError::Invalid(_)) && !error.is_unavailable();
    assert!(refused(
        &queue.publish("bad name", &[encode_id(1)]).await.unwrap_err()
    ));
    assert!(refused(
        &queue
            .publish(TOPIC_IMAGES, &[encode_id(1), Bytes::new()])
            .await
            .unwrap_err()
    ));
    assert!(refused(&queue.subscribe("", CHANNEL, 1).unwrap_err()));
    assert!(refused(&queue.subscribe(TOPIC_IMAGES, "a/b", 1).unwrap_err()));
    assert!(refused(&queue.subscribe(TOPIC_IMAGES, CHANNEL, 0).unwrap_err()));
    let mut subscription = subscribe(&backend, 8);
    nothing_comes(&mut subscription).await;
}

pub(crate) async fn publishing_nothing_does_nothing(backend: Backend) {
    backend.queue.publish(TOPIC_IMAGES, &[]).await.unwrap();
    let mut subscription = subscribe(&backend, 8);
    nothing_comes(&mut subscription).await;
}

pub(crate) async fn many_publishers_and_handlers_deliver_everything(backend: Backend) {
    let publishing: Vec<_> = (0..8)
        .map(|lane| {
            let queue = backend.queue.clone();
            tokio::spawn(async move {
                for number in 0..50 {
                    let id = lane * 50 + number + 1;
                    queue.publish(TOPIC_IMAGES, &[encode_id(id)]).await.unwrap();
                }
            })
        })
        .collect();
    let mut subscription = subscribe(&backend, 16);
    let (done, mut finished) = tokio::sync::mpsc::unbounded_channel();
    let mut seen = BTreeSet::new();
    while seen.len() < 400 {
        tokio::select! {
            delivery = subscription.next() => {
                let (delivery, done) = (delivery.unwrap(), done.clone());
                tokio::spawn(async move {
                    let id = id(&delivery);
                    // Every tenth is put back once, every tenth is dropped once.
                    match (id % 10, delivery.attempts()) {
                        (0, 1) => delivery.requeue(Duration::from_millis(20)).await.unwrap(),
                        (1, 1) => drop(delivery),
                        _ => {
                            delivery.finish().await.unwrap();
                            done.send(id).unwrap();
                        }
                    }
                });
            }
            Some(id) = finished.recv() => {
                seen.insert(id);
            }
            () = tokio::time::sleep(LIMIT) => panic!("only {} of 400", seen.len()),
        }
    }
    for publisher in publishing {
        publisher.await.unwrap();
    }
    nothing_comes(&mut subscription).await;
}
