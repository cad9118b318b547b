//! Over a pipe in memory, with time that passes when the test says so.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};

use proptest::prelude::*;

use super::unruly::live_through;
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

/// Its socket has broken: it takes every byte and cannot pass them on, or takes none.
struct Stuck {
    takes: bool,
}

impl AsyncRead for Stuck {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Stuck {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.takes {
            true => Poll::Ready(Ok(bytes.len())),
            false => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_after_a_failed_write_has_certainly_not_arrived() {
    let stuck = Box::new(Stuck { takes: true });
    let mut connection = Connection::over(stuck, &ConnectionConfig::default());
    connection.send(publish(10));
    assert!(connection.drive().await.is_err());
    assert_eq!(connection.queued(), connection.written(), "the first may have");
    connection.send(publish(10));
    assert!(connection.queued() > connection.written());
}

#[tokio::test(start_paused = true)]
async fn what_a_layer_fails_to_write_may_have_arrived_and_what_a_socket_fails_to_has_not() {
    for layered in [false, true] {
        let stuck = Box::new(Stuck { takes: false });
        let mut connection = Connection::over(stuck, &ConnectionConfig::default());
        connection.layered = layered;
        connection.send(publish(10));
        assert!(connection.drive().await.is_err());
        assert_eq!(connection.written() == connection.queued(), layered);
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

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_announced_takes_no_memory_before_it_comes() {
    let (mut connection, mut nsqd) = connected(1024);
    let announced = 15 * 1024 * 1024_i32;
    nsqd.write_all(&announced.to_be_bytes()).await.unwrap();
    nsqd.write_all(b"\0\0\0\x02the beginning").await.unwrap();
    connection.drive().await.unwrap();
    assert_eq!(connection.next_frame().unwrap(), None);
    let _ = task::spawn(connection.drive()).poll();
    assert!(connection.inbound.capacity() <= 2 * READ_CHUNK);
}

#[tokio::test(start_paused = true)]
async fn a_silence_without_heartbeats_means_nothing() {
    let (ours, _nsqd) = duplex(1024);
    let config = ConnectionConfig {
        heartbeats: false,
        ..ConnectionConfig::default()
    };
    let mut connection = Connection::over(Box::new(ours), &config);
    let mut driving = task::spawn(connection.drive());
    assert_pending!(driving.poll());
    for _ in 0..10 {
        advance(Duration::from_secs(60 * 60)).await;
        assert_pending!(driving.poll());
    }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_wait_for_their_answer_until_the_handshake_is_over() {
    let (ours, mut nsqd) = duplex(1024);
    let config = ConnectionConfig {
        auth_secret: Some("s".into()),
        ..ConnectionConfig::default()
    };
    let mut connection = Connection::over(Box::new(ours), &config);
    nsqd.write_all(HEARTBEAT_FRAME).await.unwrap();
    nsqd.write_all(b"\0\0\0\x1a\0\0\0\0{\"auth_required\":true}")
        .await
        .unwrap();
    nsqd.write_all(HEARTBEAT_FRAME).await.unwrap();
    nsqd.write_all(b"\0\0\0\x06\0\0\0\0{}").await.unwrap();
    connection.introduce("nsqd.test:4150", &config).await.unwrap();
    connection.drive().await.unwrap();
    drop(connection);
    let mut heard = Vec::new();
    nsqd.read_to_end(&mut heard).await.unwrap();
    let heard = String::from_utf8_lossy(&heard);
    assert!(heard.ends_with("}AUTH\n\0\0\0\x01sNOP\n"), "{heard}");
}

/// Frames as nsqd sends them, some broken, cut into what an unruly peer says at a time.
fn any_script() -> impl Strategy<Value = Vec<u8>> {
    let frame = |frame_type: i32, data: Vec<u8>| {
        let mut bytes = (data.len() as i32 + 4).to_be_bytes().to_vec();
        bytes.extend(frame_type.to_be_bytes());
        bytes.extend(data);
        bytes
    };
    let said = prop_oneof![
        4 => Just(OK_FRAME.to_vec()),
        2 => Just(HEARTBEAT_FRAME.to_vec()),
        1 => Just(frame(0, br#"{"auth_required":true}"#.to_vec())),
        1 => Just(frame(0, br#"{"snappy":true}"#.to_vec())),
        1 => Just(frame(1, b"E_FIN_FAILED FIN 0123456789abcdef failed".to_vec())),
        2 => prop::collection::vec(any::<u8>(), 26..300).prop_map(move |data| frame(2, data)),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    let moves = prop::collection::vec((0_u8..255, 1_u8..250), 1..200);
    (any::<u8>(), prop::collection::vec(said, 0..20), moves).prop_map(|(layers, said, moves)| {
        let mut script = vec![layers];
        let said = said.concat();
        let mut rest = &said[..];
        for (taken, len) in moves {
            let (piece, behind) = rest.split_at(usize::from(len).min(rest.len()));
            rest = behind;
            // One move for writing, one for reading, as a connection does both in turn.
            script.extend([taken, piece.len() as u8]);
            script.extend(piece);
        }
        script
    })
}

proptest! {
    #[test]
    fn no_peer_that_speaks_almost_like_nsqd_makes_a_connection_panic_or_stay(script in any_script()) {
        live_through(&script);
    }

    #[test]
    fn no_peer_at_all_makes_a_connection_panic_or_stay(script in prop::collection::vec(any::<u8>(), 0..2000)) {
        live_through(&script);
    }
}
