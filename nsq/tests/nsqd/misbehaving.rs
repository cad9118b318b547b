//! Servers that do not speak nsqd's protocol, or speak it badly.

use std::net::SocketAddr;
use std::time::Duration;

use async_nsq::{ConnectionError, Consumer, FrameError, Producer, ProducerState, PublishError};
use futures::future::join_all;
use safelight_testkit::{NsqLookupd, require_nsq};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::support::*;

/// What a server does with each connection.
#[derive(Debug, Clone)]
enum Act {
    /// Writes these bytes, and goes on reading what comes.
    Write(Vec<u8>),
    /// Writes these bytes one by one.
    Trickle(Vec<u8>),
    /// Waits until a line that begins so has come.
    Await(&'static str),
    /// Ends its side in an orderly way, and reads on.
    Close,
}

/// Plays the same part on every connection, and holds it open at the end.
async fn server(acts: Vec<Act>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(play(stream, acts.clone()));
        }
    });
    address
}

async fn play(mut stream: TcpStream, acts: Vec<Act>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut heard = Vec::new();
    for act in acts {
        match act {
            Act::Write(bytes) => stream.write_all(&bytes).await?,
            Act::Trickle(bytes) => {
                for byte in bytes {
                    stream.write_all(&[byte]).await?;
                    tokio::task::yield_now().await;
                }
            }
            Act::Await(word) => {
                while !heard.windows(word.len()).any(|window| window == word.as_bytes()) {
                    if stream.read_buf(&mut heard).await? == 0 {
                        return Ok(());
                    }
                }
                heard.clear();
            }
            // Closed with bytes unread, the connection would be reset instead.
            Act::Close => stream.shutdown().await?,
        }
    }
    while stream.read_buf(&mut heard).await? > 0 {
        heard.clear();
    }
    Ok(())
}

fn frame(frame_type: i32, data: &[u8]) -> Vec<u8> {
    let mut bytes = (data.len() as i32 + 4).to_be_bytes().to_vec();
    bytes.extend(frame_type.to_be_bytes());
    bytes.extend(data);
    bytes
}

fn ok() -> Vec<u8> {
    frame(0, b"OK")
}

fn message(id: u8, body: &[u8]) -> Vec<u8> {
    let mut data = 1_700_000_000_000_000_000_i64.to_be_bytes().to_vec();
    data.extend(1_u16.to_be_bytes());
    data.extend([b'0' + id; 16]);
    data.extend(body);
    frame(2, &data)
}

/// The first reason why a producer is not connected.
async fn first_error_of(producer: &Producer) -> ConnectionError {
    let mut state = producer.watch_state();
    let failed = state.wait_for(|state| matches!(state, ProducerState::Disconnected(Some(_))));
    match &*timeout(LIMIT, failed).await.expect("fails in time").unwrap() {
        ProducerState::Disconnected(Some(error)) => error.clone(),
        other => panic!("{other:?}"),
    }
}

/// Why the handshake with a server that answers IDENTIFY so fails.
async fn handshake_error(acts: Vec<Act>) -> ConnectionError {
    first_error_of(&producer(server(acts).await)).await
}

#[tokio::test]
async fn frames_that_come_byte_by_byte_are_read_like_any_other() {
    let identify = br#"{"max_rdy_count":100,"msg_timeout":60000,"version":"trickling"}"#;
    let acts = vec![
        Act::Await("IDENTIFY"),
        Act::Trickle(frame(0, identify)),
        Act::Await("SUB images ch"),
        Act::Trickle(ok()),
        Act::Await("RDY"),
        Act::Trickle(
            [
                frame(0, b"_heartbeat_"),
                message(1, b"drop by drop"),
                message(2, b"again"),
            ]
            .concat(),
        ),
        Act::Await("NOP"),
        Act::Await("FIN 2222222222222222"),
        Act::Write(message(3, b"answered")),
    ];
    let mut config = consumer_config();
    config.nsqd = vec![server(acts).await.to_string()];
    let mut consumer = Consumer::start(config).unwrap();
    for expected in ["drop by drop", "again", "answered"] {
        let message = next(&mut consumer).await;
        assert_eq!(message.body(), expected);
        message.finish().unwrap();
    }
}

#[tokio::test]
async fn lengths_that_no_frame_can_have_are_refused_before_memory_is_taken() {
    let error = handshake_error(vec![
        Act::Await("IDENTIFY"),
        Act::Write((-1_i32).to_be_bytes().into()),
    ])
    .await;
    assert!(
        matches!(error, ConnectionError::Frame(FrameError::BadLength(-1))),
        "{error:?}"
    );
    let error = handshake_error(vec![
        Act::Await("IDENTIFY"),
        Act::Write(3_i32.to_be_bytes().into()),
    ])
    .await;
    assert!(
        matches!(error, ConnectionError::Frame(FrameError::BadLength(3))),
        "{error:?}"
    );
    let error = handshake_error(vec![
        Act::Await("IDENTIFY"),
        Act::Write(i32::MAX.to_be_bytes().into()),
    ])
    .await;
    assert!(
        matches!(error, ConnectionError::Frame(FrameError::TooLarge { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_of_another_protocol_is_named_as_such() {
    // The first four bytes of an HTTP answer are a length of more than a gigabyte.
    let http = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request".to_vec();
    let error = handshake_error(vec![Act::Write(http), Act::Close]).await;
    assert!(
        matches!(error, ConnectionError::Frame(FrameError::TooLarge { .. })),
        "{error:?}"
    );
    let error = handshake_error(vec![Act::Await("IDENTIFY"), Act::Write(frame(7, b"what"))]).await;
    assert!(
        matches!(error, ConnectionError::Frame(FrameError::UnknownType(7))),
        "{error:?}"
    );
    let error = handshake_error(vec![Act::Await("IDENTIFY"), Act::Write(frame(0, b"hello"))]).await;
    assert!(matches!(error, ConnectionError::Protocol(_)), "{error:?}");
    let error = handshake_error(vec![Act::Await("IDENTIFY"), Act::Write(frame(2, b"too short"))]).await;
    assert!(
        matches!(error, ConnectionError::Frame(FrameError::ShortMessage(9))),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_http_server_in_nsqds_place_is_an_error_and_not_a_hang() {
    require_nsq!();
    let lookupd = NsqLookupd::start().await;
    let error = first_error_of(&producer(lookupd.http_address())).await;
    assert!(
        matches!(
            error,
            ConnectionError::Frame(_) | ConnectionError::Closed | ConnectionError::Io(_)
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_close_in_the_middle_of_a_frame_is_a_closed_connection() {
    let half = frame(0, b"OK")[..6].to_vec();
    let error = handshake_error(vec![Act::Await("IDENTIFY"), Act::Write(half), Act::Close]).await;
    assert!(matches!(error, ConnectionError::Closed), "{error:?}");
}

#[tokio::test]
async fn a_server_that_never_answers_fails_the_handshake_in_time() {
    let mut config = producer_config(server(vec![]).await);
    config.connection.handshake_timeout = Duration::from_millis(200);
    let error = first_error_of(&Producer::start(config).unwrap()).await;
    assert!(
        matches!(error, ConnectionError::HandshakeTimeout { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_identify_that_is_refused_is_told_with_its_code() {
    let refusal = frame(1, b"E_BAD_BODY IDENTIFY heartbeat interval (100) is invalid");
    let error = handshake_error(vec![Act::Await("IDENTIFY"), Act::Write(refusal), Act::Close]).await;
    match error {
        ConnectionError::Server(error) => assert_eq!(error.code, async_nsq::ErrorCode::BadBody),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_server_that_wants_auth_is_refused_by_name() {
    let answer = frame(0, br#"{"auth_required":true}"#);
    let error = handshake_error(vec![Act::Await("IDENTIFY"), Act::Write(answer)]).await;
    assert!(error.to_string().contains("AUTH"), "{error}");
}

#[tokio::test]
async fn heartbeats_between_answers_are_no_acknowledgements() {
    let heartbeats = [frame(0, b"_heartbeat_"), frame(0, b"_heartbeat_")].concat();
    let acts = vec![
        Act::Await("IDENTIFY"),
        Act::Write(ok()),
        Act::Await("PUB"),
        Act::Write(heartbeats),
        Act::Await("NOP"),
    ];
    let producer = producer(server(acts).await).with_timeout(Duration::from_millis(300));
    let result = producer.publish(&topic(), "unacknowledged").await;
    assert!(matches!(result, Err(PublishError::Unanswered(_))), "{result:?}");
}

#[tokio::test]
async fn an_answer_that_is_no_answer_leaves_the_publish_unknown() {
    let acts = vec![
        Act::Await("IDENTIFY"),
        Act::Write(ok()),
        Act::Await("PUB"),
        Act::Write(frame(0, b"MAYBE")),
    ];
    let producer = producer(server(acts).await).with_timeout(LIMIT);
    let result = timeout(LIMIT / 2, producer.publish(&topic(), "?")).await.unwrap();
    assert!(
        matches!(result, Err(PublishError::Unknown(ConnectionError::Protocol(_)))),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_close_behind_the_publish_leaves_it_unknown() {
    let acts = vec![
        Act::Await("IDENTIFY"),
        Act::Write(ok()),
        Act::Await("PUB"),
        Act::Close,
    ];
    let producer = producer(server(acts).await).with_timeout(LIMIT);
    let result = timeout(LIMIT / 2, producer.publish(&topic(), "?")).await.unwrap();
    assert!(matches!(result, Err(PublishError::Unknown(_))), "{result:?}");
}

#[tokio::test]
async fn publishes_behind_a_fatal_refusal_are_sent_again_and_not_failed() {
    // The first of two pipelined publishes is refused: nsqd never looks at the second.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let producer = producer(listener.local_addr().unwrap()).with_timeout(LIMIT);
    let topic = topic();
    let (poison, good) = (
        producer.publish(&topic, "poison"),
        producer.publish(&topic, "good"),
    );
    let both = async { tokio::join!(poison, good) };
    let serving = async {
        let (first, _) = listener.accept().await.unwrap();
        let refusal = frame(1, b"E_BAD_MESSAGE PUB invalid");
        let acts = vec![
            Act::Await("IDENTIFY"),
            Act::Write(ok()),
            Act::Await("good"),
            Act::Write(refusal),
            Act::Close,
        ];
        play(first, acts).await.unwrap();
        let (second, _) = listener.accept().await.unwrap();
        let acts = vec![
            Act::Await("IDENTIFY"),
            Act::Write(ok()),
            Act::Await("good"),
            Act::Write(ok()),
        ];
        play(second, acts).await.unwrap();
    };
    tokio::select! {
        (poison, good) = both => {
            assert!(matches!(poison, Err(PublishError::Rejected(_))), "{poison:?}");
            good.unwrap();
        }
        () = serving => panic!("the server ended first"),
    }
}

#[tokio::test]
async fn a_server_that_sends_more_than_rdy_allows_is_cut_off() {
    let mut flood = Vec::new();
    for number in 0..2000_u32 {
        let mut one = message(0, b"flood");
        one[18..22].copy_from_slice(&number.to_be_bytes());
        flood.extend(one);
    }
    let acts = vec![
        Act::Await("IDENTIFY"),
        Act::Write(ok()),
        Act::Await("SUB"),
        Act::Write(ok()),
        Act::Await("RDY"),
        Act::Write(flood),
    ];
    let mut config = consumer_config();
    config.nsqd = vec![server(acts).await.to_string()];
    config.max_in_flight = 5;
    let consumer = Consumer::start(config).unwrap();
    let mut state = consumer.control().watch_state();
    let cut_off = state.wait_for(|state| matches!(state.last_error, Some(ConnectionError::Protocol(_))));
    timeout(LIMIT, cut_off).await.expect("it is cut off").unwrap();
    assert!(consumer.control().stats().received < 200);
}

#[tokio::test]
async fn a_subscription_that_is_refused_is_tried_again_with_its_reason_in_the_state() {
    let refusal = frame(
        1,
        b"E_SUB_FAILED SUB failed channel consumers for images:ch exceeds limit of 1",
    );
    let acts = vec![
        Act::Await("IDENTIFY"),
        Act::Write(ok()),
        Act::Await("SUB"),
        Act::Write(refusal),
        Act::Close,
    ];
    let mut config = consumer_config();
    config.nsqd = vec![server(acts).await.to_string()];
    let consumer = Consumer::start(config).unwrap();
    eventually("it was tried again", || async {
        consumer.control().stats().connection_failures >= 3
    })
    .await;
    match consumer.control().state().last_error {
        Some(ConnectionError::Server(error)) => assert_eq!(error.code, async_nsq::ErrorCode::SubFailed),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_never_left_this_machine_is_sent_again_and_what_may_have_is_unknown() {
    const PUBLISHES: usize = 48;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let producer = producer(listener.local_addr().unwrap()).with_timeout(LIMIT);
    let topic = topic();
    // More than the buffers of both ends hold.
    let body = vec![b'x'; 1024 * 1024];
    let publishing = join_all((0..PUBLISHES).map(|_| producer.publish(&topic, body.clone())));
    let serving = async {
        let (mut first, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 1024 * 1024];
        first.read_exact(&mut heard[..4]).await.unwrap();
        first.write_all(&ok()).await.unwrap();
        first.read_exact(&mut heard).await.unwrap();
        drop(first);

        // The second takes all that comes, and counts it.
        let (mut second, _) = listener.accept().await.unwrap();
        second.write_all(&ok()).await.unwrap();
        let (mut waiting, mut stored) = (Vec::new(), 0);
        loop {
            if second.read_buf(&mut waiting).await.unwrap() == 0 {
                return stored;
            }
            while let Some(start) = waiting.windows(4).position(|window| window == b"PUB ") {
                let end = start + b"PUB images\n".len() + 4 + body.len();
                if waiting.len() < end {
                    break;
                }
                waiting.drain(..end);
                stored += 1;
                second.write_all(&ok()).await.unwrap();
            }
        }
    };
    let publishing = async {
        let results = publishing.await;
        producer.close().await;
        results
    };
    let (results, stored) = timeout(LIMIT, async { tokio::join!(publishing, serving) })
        .await
        .unwrap();
    let acknowledged = results.iter().filter(|result| result.is_ok()).count();
    let unknown = results
        .iter()
        .filter(|result| matches!(result, Err(PublishError::Unknown(_))))
        .count();
    assert_eq!(acknowledged + unknown, PUBLISHES, "{results:?}");
    assert_eq!(acknowledged, stored, "acknowledged means stored, once");
    assert!(unknown >= 1, "the first was read, and never answered");
    assert!(acknowledged >= 1, "the last cannot have left");
}
