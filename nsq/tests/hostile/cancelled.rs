//! Calls given up at every point where they wait.

use std::time::Duration;

use async_nsq::{NotSent, Producer, ProducerConfig, PublishError};
use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::giving_up::{MOST, polled, step_by_step};
use crate::nsqd::{Served, serve};
use crate::server::*;
use crate::transcript::Sent;

/// So small that nothing is written in one go.
const NARROW: usize = 16;
const DELAY: Duration = Duration::from_millis(1500);

/// A producer with room for so many publishes at a time, and batches of up to two of the bodies below, on a server
/// that takes everything.
fn served(max_pending: usize) -> (Producer, JoinHandle<Served>) {
    let (connection, mut servers) = accepted(NARROW);
    let mut config = ProducerConfig::new("nsqd.test:4150");
    config.connection = connection;
    config.publish_timeout = LIMIT;
    config.max_pending = max_pending;
    config.max_body_size = 64;
    let serving = tokio::spawn(async move { serve(servers.recv().await.unwrap(), Vec::new()).await });
    (Producer::start(config).unwrap(), serving)
}

fn body(of: u8) -> Bytes {
    vec![of; 20].into()
}

fn bodies(of: &[u8]) -> Vec<Bytes> {
    of.iter().copied().map(body).collect()
}

fn sent(line: &str, body: impl Into<Vec<u8>>) -> Sent {
    Sent {
        line: line.to_owned(),
        body: body.into(),
    }
}

fn sent_batch(of: &[u8]) -> Sent {
    let mut written = (of.len() as u32).to_be_bytes().to_vec();
    for body in bodies(of) {
        written.extend((body.len() as u32).to_be_bytes());
        written.extend(body);
    }
    sent("MPUB t", written)
}

/// What was published on a connection, by the time the producer is closed.
async fn published(producer: Producer, serving: JoinHandle<Served>) -> Vec<Sent> {
    producer.close().await;
    drop(producer);
    let mut commands = timeout(LIMIT, serving).await.unwrap().unwrap().commands();
    commands.retain(|sent| sent.line.contains("PUB"));
    commands
}

/// Gives up a call after every number of polls, until it is ready; and publishes once more each time. What is
/// heard are the first commands of those expected, each of them whole, and in the end all of them.
async fn assert_leaves_whole_commands(max_pending: usize, expected: &[Sent], call: impl AsyncFn(&Producer)) {
    for times in 0..MOST {
        let (producer, serving) = served(max_pending);
        let given_up = polled(call(&producer), times).await;
        timeout(LIMIT, producer.publish(&topic(), "whole"))
            .await
            .unwrap()
            .unwrap();
        let mut heard = published(producer, serving).await;
        assert_eq!(heard.pop(), Some(sent("PUB t", "whole")), "after {times} polls");
        assert!(expected.starts_with(&heard), "after {times} polls: {heard:?}");
        if given_up.is_some() {
            assert_eq!(heard, expected);
            return;
        }
        // By then, no connection had been made.
        assert!(times > 1 || heard.is_empty(), "after {times} polls: {heard:?}");
    }
    panic!("not ready after {MOST} polls");
}

#[test]
fn a_publish_given_up_at_any_point_leaves_no_half_command() {
    step_by_step(async {
        let expected = [sent("PUB t", body(b'a'))];
        assert_leaves_whole_commands(4, &expected, async |producer| {
            producer.publish(&topic(), body(b'a')).await.unwrap();
        })
        .await;
    });
}

#[test]
fn a_deferred_publish_given_up_at_any_point_leaves_no_half_command() {
    step_by_step(async {
        let expected = [sent("DPUB t 1500", body(b'a'))];
        assert_leaves_whole_commands(4, &expected, async |producer| {
            let topic = topic();
            let publishing = producer.publish_deferred(&topic, body(b'a'), DELAY);
            publishing.await.unwrap();
        })
        .await;
    });
}

#[test]
fn batches_given_up_at_any_point_are_sent_whole_or_not_at_all() {
    step_by_step(async {
        let expected = [sent_batch(b"ab"), sent_batch(b"cd"), sent_batch(b"ef")];
        for max_pending in [1, 2, 4] {
            assert_leaves_whole_commands(max_pending, &expected, async |producer| {
                producer.publish_many(&topic(), bodies(b"abcdef")).await.unwrap();
            })
            .await;
        }
    });
}

#[test]
fn batches_given_up_while_queueing_or_unacknowledged_are_sent_whole_or_not_at_all() {
    step_by_step(async {
        let expected = [sent_batch(b"ab"), sent_batch(b"cd"), sent_batch(b"ef")];
        for max_pending in [1, 2, 4] {
            assert_leaves_whole_commands(max_pending, &expected, async |producer| {
                let ack = producer.enqueue_many(&topic(), bodies(b"abcdef")).await.unwrap();
                ack.wait().await.unwrap();
            })
            .await;
        }
    });
}

#[test]
fn acknowledgements_given_up_at_any_point_leave_their_messages_whole_or_unsent_and_in_order() {
    step_by_step(async {
        let expected = [
            sent("PUB t", body(b'a')),
            sent("DPUB t 1500", body(b'b')),
            sent("PUB t", body(b'c')),
            sent("PUB t", body(b'd')),
        ];
        for max_pending in [2, 8] {
            assert_leaves_whole_commands(max_pending, &expected, async |producer| {
                let acks = [
                    producer.enqueue(&topic(), body(b'a')).await.unwrap(),
                    producer
                        .enqueue_deferred(&topic(), body(b'b'), DELAY)
                        .await
                        .unwrap(),
                    producer.enqueue(&topic(), body(b'c')).await.unwrap(),
                    producer.enqueue(&topic(), body(b'd')).await.unwrap(),
                ];
                for ack in acks {
                    ack.await.unwrap();
                }
            })
            .await;
        }
    });
}

#[test]
fn a_message_given_up_while_it_waits_for_room_is_never_sent_and_leaves_its_place() {
    step_by_step(async {
        for times in 0..MOST {
            let (producer, serving) = served(1);
            let first = producer.enqueue(&topic(), body(b'a')).await.unwrap();
            let queued = polled(producer.enqueue(&topic(), body(b'b')), times).await;
            first.await.unwrap();
            let ready = queued.is_some();
            if let Some(ack) = queued {
                ack.unwrap().await.unwrap();
            }
            timeout(LIMIT, producer.publish(&topic(), "whole"))
                .await
                .unwrap()
                .unwrap();
            let heard = published(producer, serving).await;
            let mut expected = vec![sent("PUB t", body(b'a')), sent("PUB t", "whole")];
            if ready {
                expected.insert(1, sent("PUB t", body(b'b')));
            }
            assert_eq!(heard, expected, "after {times} polls");
            if ready {
                assert!(times > 1, "it did not wait");
                return;
            }
        }
        panic!("not ready after {MOST} polls");
    });
}

#[test]
fn a_close_given_up_at_any_point_goes_on_and_loses_nothing() {
    step_by_step(async {
        for times in 1..MOST {
            let (producer, serving) = served(4);
            let first = producer.enqueue(&topic(), body(b'a')).await.unwrap();
            let batch = producer.enqueue_many(&topic(), bodies(b"bc")).await.unwrap();
            let closed = polled(producer.close(), times).await;
            let late = producer.publish(&topic(), "late").await;
            assert!(
                matches!(late, Err(PublishError::NotSent(NotSent::Closed))),
                "{late:?}"
            );
            timeout(LIMIT, first).await.unwrap().unwrap();
            timeout(LIMIT, batch.wait()).await.unwrap().unwrap();
            // The connection is closed though somebody still holds the producer.
            let heard = timeout(LIMIT, serving).await.unwrap().unwrap().commands();
            assert_eq!(
                heard[1..],
                [sent("PUB t", body(b'a')), sent_batch(b"bc")],
                "after {times} polls"
            );
            drop(producer);
            if closed.is_some() {
                return;
            }
        }
        panic!("not closed after {MOST} polls");
    });
}

#[test]
fn a_handshake_given_up_at_any_point_closes_the_connection() {
    step_by_step(async {
        for times in 0..MOST {
            let (config, mut servers) = accepted(NARROW);
            let serving = tokio::spawn(async move {
                // Without a connect, there is nothing to be closed.
                if let Some(server) = servers.recv().await {
                    serve(server, Vec::new()).await;
                }
            });
            let probed = polled(config.probe("nsqd.test:4150"), times).await;
            drop(config);
            timeout(LIMIT, serving).await.unwrap().unwrap();
            if let Some(negotiated) = probed {
                negotiated.unwrap();
                return;
            }
        }
        panic!("not ready after {MOST} polls");
    });
}
