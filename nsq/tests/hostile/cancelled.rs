//! Calls given up at every point where they wait.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use futures::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::server::*;
use crate::transcript::{commands, whole_commands};

/// Polls so often, letting everybody else run in between, and gives up. `None` if it was given up.
async fn polled<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..times {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test]
async fn a_publish_given_up_at_any_point_leaves_no_half_command() {
    for times in 0..40 {
        // So small that nothing is written in one go.
        let (config, mut servers) = accepted(16);
        let producer = producer(config);
        let serving = tokio::spawn(async move {
            let mut server = servers.recv().await.unwrap();
            server.write_all(&ok()).await.unwrap();
            let (mut heard, mut answered) = (Vec::new(), 0);
            while server.read_buf(&mut heard).await.unwrap() > 0 {
                let (commands, _) = whole_commands(&heard);
                let publishes = commands.iter().filter(|sent| sent.line == "PUB t").count();
                while answered < publishes {
                    server.write_all(&ok()).await.unwrap();
                    answered += 1;
                }
            }
            heard
        });
        let given_up = polled(producer.publish(&topic(), vec![b'x'; 100]), times).await;
        timeout(LIMIT, producer.publish(&topic(), "whole"))
            .await
            .unwrap()
            .unwrap();
        producer.close().await;
        drop(producer);
        let heard = timeout(LIMIT, serving).await.unwrap().unwrap();
        let bodies: Vec<usize> = commands(&heard)
            .iter()
            .filter(|sent| sent.line == "PUB t")
            .map(|sent| sent.body.len())
            .collect();
        match given_up {
            // It may have gone out or not, but if it has, then whole and before the other.
            None => assert!(
                bodies == [5] || bodies == [100, 5],
                "after {times} polls: {bodies:?}"
            ),
            Some(published) => {
                published.unwrap();
                assert_eq!(bodies, [100, 5]);
            }
        }
    }
}

#[tokio::test]
async fn a_handshake_given_up_at_any_point_closes_the_connection() {
    for times in 0..40 {
        let (config, mut servers) = accepted(16);
        let serving = tokio::spawn(async move {
            let Some(mut server) = servers.recv().await else {
                return;
            };
            // Whoever is not there any more cannot be answered.
            let _ = server.write_all(&ok()).await;
            let mut heard = Vec::new();
            server.read_to_end(&mut heard).await.unwrap();
        });
        let probed = polled(config.probe("nsqd.test:4150"), times).await;
        assert!(probed.is_none_or(|negotiated| negotiated.is_ok()));
        drop(config);
        timeout(LIMIT, serving).await.unwrap().unwrap();
    }
}
