//! The queue of the embedded set-up, which only SQLite has.

use std::collections::HashSet;
use std::time::Duration;

use safelight_database::{EmbeddedQueue, Error};

use crate::back_end::{BackEnd, LONG, eventually};

async fn queue() -> (BackEnd, EmbeddedQueue) {
    let back_end = BackEnd::sqlite().await;
    let queue = back_end.database.embedded_queue().unwrap();
    (back_end, queue)
}

fn bodies(numbers: impl IntoIterator<Item = u8>) -> Vec<Vec<u8>> {
    numbers.into_iter().map(|number| vec![number]).collect()
}

#[tokio::test]
async fn mysql_has_none() {
    assert!(BackEnd::empty_mysql().await.database.embedded_queue().is_none());
}

#[tokio::test]
async fn messages_come_in_their_order_and_only_while_nobody_has_them() {
    let (_back_end, queue) = queue().await;
    queue.push("images", &bodies(0..5)).await.unwrap();
    let first = queue.take("images", "ch", 3, LONG).await.unwrap();
    let rest = queue.take("images", "ch", 10, LONG).await.unwrap();
    let taken: Vec<_> = first
        .iter()
        .chain(&rest)
        .map(|message| message.body.clone())
        .collect();
    assert_eq!((first.len(), taken), (3, bodies(0..5)));
    assert!(rest.iter().all(|message| message.attempts == 1));
    assert_eq!(queue.take("images", "ch", 10, LONG).await.unwrap(), []);
}

#[tokio::test]
async fn topics_are_apart() {
    let (_back_end, queue) = queue().await;
    queue.push("images", &bodies([1])).await.unwrap();
    assert_eq!(queue.take("mails", "ch", 10, LONG).await.unwrap(), []);
    assert_eq!(queue.next_due("mails").await.unwrap(), None);
    assert_eq!(queue.take("images", "ch", 10, LONG).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_finished_message_is_gone() {
    let (_back_end, queue) = queue().await;
    queue.push("images", &bodies([1])).await.unwrap();
    let message = queue.take("images", "ch", 1, LONG).await.unwrap().remove(0);
    queue.finish(message.id, message.token).await.unwrap();
    assert_eq!(queue.next_due("images").await.unwrap(), None);
    let again = queue.finish(message.id, message.token).await;
    assert!(matches!(again, Err(Error::LostClaim)), "{again:?}");
}

#[tokio::test]
async fn a_message_given_back_comes_again_after_its_delay() {
    let (_back_end, queue) = queue().await;
    queue.push("images", &bodies([1])).await.unwrap();
    let message = queue.take("images", "ch", 1, LONG).await.unwrap().remove(0);
    queue.requeue(message.id, message.token, LONG).await.unwrap();
    assert_eq!(queue.take("images", "ch", 1, LONG).await.unwrap(), []);
    let due = queue.next_due("images").await.unwrap().unwrap();
    assert!(due <= LONG && due > LONG / 2, "{due:?}");

    queue.push("images", &bodies([2])).await.unwrap();
    let message = queue.take("images", "ch", 1, LONG).await.unwrap().remove(0);
    queue
        .requeue(message.id, message.token, Duration::ZERO)
        .await
        .unwrap();
    let again = queue.take("images", "ch", 1, LONG).await.unwrap().remove(0);
    assert_eq!((again.id, again.attempts), (message.id, 2));
    let late = queue.touch(message.id, message.token, LONG).await;
    assert!(matches!(late, Err(Error::LostClaim)), "{late:?}");
}

#[tokio::test]
async fn a_message_whose_consumer_died_comes_again_when_its_lease_ends() {
    let (_back_end, queue) = queue().await;
    queue.push("images", &bodies([1])).await.unwrap();
    let lost = queue
        .take("images", "ch", 1, Duration::from_millis(50))
        .await
        .unwrap()
        .remove(0);
    let again = eventually("the lease ends", async || {
        queue.take("images", "ch", 1, LONG).await.unwrap().pop()
    })
    .await;
    assert_eq!((again.id, again.attempts), (lost.id, 2));
    let late = queue.finish(lost.id, lost.token).await;
    assert!(matches!(late, Err(Error::LostClaim)), "{late:?}");
    queue.finish(again.id, again.token).await.unwrap();
}

#[tokio::test]
async fn touching_lets_the_lease_run_anew() {
    let (back_end, queue) = queue().await;
    queue.push("images", &bodies([1])).await.unwrap();
    let message = queue.take("images", "ch", 1, LONG).await.unwrap().remove(0);
    back_end
        .execute("UPDATE queue_messages SET available_at = 1000")
        .await;
    queue.touch(message.id, message.token, LONG).await.unwrap();
    assert_eq!(queue.take("images", "ch", 1, LONG).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_at_once_share_the_messages() {
    let (_back_end, queue) = queue().await;
    queue.push("images", &bodies(0..100)).await.unwrap();
    let consumers: Vec<_> = (0..4)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let taken = queue.take("images", "ch", 7, LONG).await.unwrap();
                    if taken.is_empty() {
                        return seen;
                    }
                    for message in taken {
                        queue.finish(message.id, message.token).await.unwrap();
                        seen.push(message.body);
                    }
                }
            })
        })
        .collect();
    let mut seen = HashSet::new();
    for consumer in consumers {
        for body in consumer.await.unwrap() {
            assert!(seen.insert(body.clone()), "{body:?} came twice");
        }
    }
    assert_eq!(seen.len(), 100);
}
