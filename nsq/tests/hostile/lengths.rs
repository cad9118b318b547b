//! Frames whose length or type is none.

use async_nsq::{ConnectionError, FrameError, PublishError};

use crate::server::*;

fn length(len: i32) -> Vec<u8> {
    len.to_be_bytes().to_vec()
}

/// Why the first thing that such a server says ends the connection, as an answer to IDENTIFY and as one to
/// a publish.
async fn refusals(said: Vec<u8>) -> [FrameError; 2] {
    let config = playing(vec![Act::Await("IDENTIFY"), Act::Say(said.clone())]);
    let at_once = match config.probe("nsqd.test:4150").await {
        Err(ConnectionError::Frame(error)) => error,
        other => panic!("{said:?}: {other:?}"),
    };
    let producer = producer(playing(vec![
        Act::Await("IDENTIFY"),
        Act::Say(ok()),
        Act::Await("PUB"),
        Act::Say(said.clone()),
    ]));
    let later = match producer.publish(&topic(), "body").await {
        Err(PublishError::Unknown(ConnectionError::Frame(error))) => error,
        other => panic!("{said:?}: {other:?}"),
    };
    [at_once, later]
}

#[tokio::test]
async fn lengths_below_a_frames_own_are_refused() {
    for len in [i32::MIN, -1, 0, 3] {
        for error in refusals(length(len)).await {
            assert_eq!(error, FrameError::BadLength(len));
        }
    }
}

#[tokio::test]
async fn lengths_over_the_limit_are_refused_by_their_four_bytes() {
    for len in [16 * 1024 * 1024 + 1, i32::MAX] {
        for error in refusals(length(len)).await {
            assert!(matches!(error, FrameError::TooLarge { .. }), "{error:?}");
        }
    }
}

#[tokio::test]
async fn types_that_nobody_knows_are_refused_before_their_data() {
    for frame_type in [-1, 3, i32::MAX] {
        let mut said = length(1000);
        said.extend(frame_type.to_be_bytes());
        for error in refusals(said).await {
            assert_eq!(error, FrameError::UnknownType(frame_type));
        }
    }
}

#[tokio::test]
async fn a_message_shorter_than_its_header_is_refused() {
    for error in refusals(frame(2, &[0; 25])).await {
        assert_eq!(error, FrameError::ShortMessage(25));
    }
}

#[tokio::test]
async fn a_message_that_nobody_subscribed_to_ends_the_connection() {
    let message = frame(2, &[b'0'; 30]);
    let config = playing(vec![Act::Await("IDENTIFY"), Act::Say(message)]);
    let error = config.probe("nsqd.test:4150").await.unwrap_err();
    assert!(matches!(error, ConnectionError::Protocol(_)), "{error:?}");
}
