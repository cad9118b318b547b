//! Over a pipe in memory, with time that passes when the test says so.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};

use super::*;
use crate::name::Topic;

const HEARTBEAT_FRAME: &[u8] = b"\0\0\0\x0f\0\0\0\0_heartbeat_";
const OK_FRAME: &[u8] = b"\0\0\0\x06\0\0\0\0OK";

/// A connection, and nsqd's end of it, which holds `capacity` bytes each way.
fn connected(capacity: usize) -> (Connection, DuplexStream) {
    let (ours, nsqds) = duplex(capacity);
    let config = ConnectionConfig {
        heartbeat_interval: Duration::from_secs(10),
        write_timeout: Duration::from_secs(5),
        ..ConnectionConfig::default()
    };
    (Connection::over(Box::new(ours), &config), nsqds)
}

fn publish(len: usize) -> Command {
    Command::Publish {
        topic: Topic::new("t").unwrap(),
        body: Bytes::from(vec![b'x'; len]),
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_is_heard_for_two_heartbeats_is_silent() {
    let (mut connection, mut nsqd) = connected(1024);
    advance(Duration::from_secs(19)).await;
    nsqd.write_all(HEARTBEAT_FRAME).await.unwrap();
    connection.drive().await.unwrap();
    assert_eq!(
        connection.next_frame().unwrap(),
        None,
        "a heartbeat is no frame for anyone else"
    );
    connection.drive().await.unwrap();
    let mut answer = [0; 4];
    nsqd.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"NOP\n");

    let mut driving = task::spawn(connection.drive());
    assert_pending!(driving.poll());
    advance(Duration::from_millis(19_900)).await;
    assert_pending!(driving.poll());
    advance(Duration::from_millis(200)).await;
    let error = assert_ready_err!(driving.poll());
    assert!(matches!(error, ConnectionError::Silent(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_no_byte_is_stalled_and_one_that_takes_some_is_not() {
    let (mut connection, mut nsqd) = connected(100);
    connection.send(publish(1000));
    connection.drive().await.unwrap();
    let mut taken = [0; 10];
    for _ in 0..5 {
        advance(Duration::from_secs(4)).await;
        // Any sign of life on the reading side, which is not what this is about.
        nsqd.write_all(HEARTBEAT_FRAME).await.unwrap();
        nsqd.read_exact(&mut taken).await.unwrap();
        connection.drive().await.unwrap();
    }
    let mut driving = task::spawn(connection.drive());
    assert_pending!(driving.poll());
    advance(Duration::from_millis(4_900)).await;
    assert_pending!(driving.poll());
    advance(Duration::from_millis(200)).await;
    let error = assert_ready_err!(driving.poll());
    assert!(matches!(error, ConnectionError::Stalled(_)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn answers_are_read_while_the_peer_takes_nothing() {
    let (mut connection, mut nsqd) = connected(64);
    connection.send(publish(1000));
    connection.drive().await.unwrap();
    nsqd.write_all(OK_FRAME).await.unwrap();
    connection.drive().await.unwrap();
    assert_eq!(
        connection.next_frame().unwrap(),
        Some(Frame::Response("OK".into()))
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_not_written_whole_is_known_as_such() {
    let (mut connection, _nsqd) = connected(100);
    connection.send(publish(20));
    let first_ends = connection.queued();
    connection.send(publish(200));
    let second_ends = connection.queued();
    connection.drive().await.unwrap();
    assert!(first_ends <= connection.written());
    assert!(second_ends > connection.written());
    assert!(!connection.is_flushed());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_makes_progress_is_news_even_if_nothing_is_read() {
    let (mut connection, mut nsqd) = connected(600 * 1024);
    connection.send(publish(WRITE_SOFT_LIMIT));
    assert!(!connection.has_room());
    let mut driving = task::spawn(connection.drive());
    assert_ready_ok!(driving.poll());
    drop(driving);
    assert!(connection.has_room());
    assert!(connection.is_flushed());
    let mut start = [0; 6];
    nsqd.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"PUB t\n");
}

#[tokio::test(start_paused = true)]
async fn last_words_are_read_although_writing_has_failed() {
    let (mut connection, mut nsqd) = connected(1024);
    nsqd.write_all(b"\0\0\0\x13\0\0\0\x01E_BAD_TOPIC bad")
        .await
        .unwrap();
    drop(nsqd);
    connection.send(publish(10));
    let mut said = None;
    let error = loop {
        if let Some(frame) = connection.next_frame().unwrap() {
            said = Some(frame);
        }
        if let Err(error) = connection.drive().await {
            break error;
        }
    };
    assert!(matches!(said, Some(Frame::Error(_))), "{said:?}");
    assert!(
        matches!(error, ConnectionError::Closed | ConnectionError::Io(_)),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_drive_dropped_half_way_loses_no_byte_in_either_direction() {
    let (mut connection, mut nsqd) = connected(16);
    let sending: Vec<usize> = (1..40).collect();
    for &len in &sending {
        connection.send(publish(len));
    }
    let expected: usize = sending.iter().map(|len| b"PUB t\n".len() + 4 + len).sum();
    let (mut heard, mut frames, mut said) = (Vec::new(), 0, 0);
    while heard.len() < expected || frames < 20 {
        // Polled once and dropped, again and again.
        let _ = task::spawn(connection.drive()).poll();
        while connection.next_frame().unwrap().is_some() {
            frames += 1;
        }
        let mut some = [0; 7];
        if let std::task::Poll::Ready(Ok(count)) = task::spawn(nsqd.read(&mut some)).poll() {
            heard.extend_from_slice(&some[..count]);
        }
        let rest = &OK_FRAME.repeat(20)[said..];
        if let std::task::Poll::Ready(Ok(count)) = task::spawn(nsqd.write(&rest[..rest.len().min(5)])).poll()
        {
            said += count;
        }
        // Without this, tokio holds the streams back for the other tasks' sake.
        tokio::task::yield_now().await;
    }
    assert_eq!((heard.len(), frames), (expected, 20));
    assert!(heard.ends_with(&[b'x'; 39]));
}
