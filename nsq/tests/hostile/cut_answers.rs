//! Hanging up after every byte of an answer, behind the handshake's first.

use std::ops::Range;

use async_nsq::{ConnectionConfig, Producer, PublishError};
use futures::future::join_all;
use tokio::time::timeout;

use crate::server::*;

#[tokio::test]
async fn a_server_that_hangs_up_at_any_byte_of_the_answer_to_auth_is_closed() {
    let answer = granting(r#"{"identity":"me","identity_url":"","permission_count":1}"#);
    let probes = (0..=answer.len()).map(|cut| {
        let mut config = playing(vec![
            Act::Await("IDENTIFY"),
            Act::Say(granting(r#"{"auth_required":true}"#)),
            Act::Await("AUTH"),
            Act::Say(answer[..cut].to_vec()),
            Act::HangUp,
        ]);
        config.auth_secret = Some("secret".into());
        async move { (cut, timeout(LIMIT, config.probe("nsqd.test:4150")).await.unwrap()) }
    });
    for (cut, probed) in join_all(probes).await {
        match probed {
            Err(error) if cut < answer.len() => assert!(is_hung_up(&error), "after {cut} bytes: {error:?}"),
            Ok(negotiated) if cut == answer.len() => {
                assert_eq!(negotiated.authorization.unwrap().identity, "me");
            }
            other => panic!("after {cut} bytes: {other:?}"),
        }
    }
}

/// Whether these messages may be stored, because the connection ended.
fn is_unknown(failed: &(Range<usize>, PublishError), messages: Range<usize>) -> bool {
    failed.0 == messages && matches!(&failed.1, PublishError::Unknown(lost) if is_hung_up(lost))
}

/// Whoever hangs up after so many bytes of a heartbeat and an answer to `command`; and whether that is all.
fn answering_in_part(command: &'static str) -> impl Iterator<Item = (usize, bool, ConnectionConfig)> {
    let answer = [heartbeat(), ok()].concat();
    (0..=answer.len()).map(move |cut| {
        let config = playing(vec![
            Act::Await("IDENTIFY"),
            Act::Say(ok()),
            Act::Await(command),
            Act::Say(answer[..cut].to_vec()),
            Act::HangUp,
        ]);
        (cut, cut == answer.len(), config)
    })
}

#[tokio::test]
async fn a_server_that_hangs_up_at_any_byte_of_the_answer_to_a_batch_leaves_all_of_it_unknown() {
    let publishes = answering_in_part("MPUB t").map(|(cut, all, config)| async move {
        let bodies = vec!["one".into(), "two".into()];
        (cut, all, producer(config).publish_many(&topic(), bodies).await)
    });
    for (cut, all, published) in timeout(LIMIT, join_all(publishes)).await.unwrap() {
        match published {
            Ok(()) if all => {}
            Err(error) if !all => {
                let whole = error.failed.len() == 1 && is_unknown(&error.failed[0], 0..2);
                assert!(whole, "after {cut} bytes: {error:?}");
            }
            other => panic!("after {cut} bytes: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_at_any_byte_of_the_answer_to_the_second_batch_leaves_only_that_unknown() {
    let answer = ok();
    let publishes = (0..answer.len()).map(|cut| {
        let mut config = async_nsq::ProducerConfig::new("nsqd.test:4150");
        config.connection = playing(vec![
            Act::Await("IDENTIFY"),
            Act::Say(ok()),
            Act::Await("four"),
            Act::Say([&ok(), &answer[..cut]].concat()),
            Act::HangUp,
        ]);
        // Two messages to a batch.
        config.max_body_size = 24;
        let producer = Producer::start(config).unwrap();
        async move {
            let bodies = ["one", "two", "three", "four"].map(Into::into).to_vec();
            (cut, producer.publish_many(&topic(), bodies).await)
        }
    });
    for (cut, published) in timeout(LIMIT, join_all(publishes)).await.unwrap() {
        let error = published.unwrap_err();
        let second = error.failed.len() == 1 && is_unknown(&error.failed[0], 2..4);
        assert!(second, "after {cut} bytes: {error:?}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_at_any_byte_of_the_answer_to_a_deferred_publish_leaves_it_unknown() {
    let publishes = answering_in_part("DPUB t 1500").map(|(cut, all, config)| async move {
        let delay = std::time::Duration::from_millis(1500);
        let published = producer(config).publish_deferred(&topic(), "later", delay).await;
        (cut, all, published)
    });
    for (cut, all, published) in timeout(LIMIT, join_all(publishes)).await.unwrap() {
        match published {
            Ok(()) if all => {}
            Err(PublishError::Unknown(lost)) if !all => assert!(is_hung_up(&lost), "{lost:?}"),
            other => panic!("after {cut} bytes: {other:?}"),
        }
    }
}

/// A server that grants this layer hangs up after every byte of the `OK` with which the layer begins. The
/// handshake is done where what came is `enough`, and is closed where it is not.
#[cfg(any(feature = "snappy", feature = "deflate"))]
async fn assert_closed_unless(
    enough: impl Fn(&[u8]) -> bool,
    granted: &str,
    asked: async_nsq::Compression,
    compressed: &[u8],
) {
    let probes = (0..=compressed.len()).map(|cut| {
        let mut config = playing(vec![
            Act::Await("IDENTIFY"),
            Act::Say([&granting(granted), &compressed[..cut]].concat()),
            Act::HangUp,
        ]);
        config.compression = asked;
        async move { (cut, timeout(LIMIT, config.probe("nsqd.test:4150")).await.unwrap()) }
    });
    for (cut, probed) in join_all(probes).await {
        let enough = enough(&compressed[..cut]);
        match probed {
            Err(error) if !enough && is_hung_up(&error) => {}
            Ok(_) if enough => {}
            other => panic!("after {cut} of {} bytes: {other:?}", compressed.len()),
        }
    }
}

#[cfg(feature = "snappy")]
#[tokio::test]
async fn a_server_that_hangs_up_at_any_byte_of_the_first_word_in_snappy_is_closed() {
    use std::io::Write;

    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(&ok()).unwrap();
    let compressed = encoder.into_inner().unwrap();
    let all = |came: &[u8]| came.len() == compressed.len();
    let asked = async_nsq::Compression::Snappy;
    assert_closed_unless(all, r#"{"snappy":true}"#, asked, &compressed).await;
}

#[cfg(feature = "deflate")]
#[tokio::test]
async fn a_server_that_hangs_up_at_any_byte_of_the_first_word_in_deflate_is_closed() {
    use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

    let mut compressed = Vec::with_capacity(1024);
    Compress::new(Compression::new(6), false)
        .compress_vec(&ok(), &mut compressed, FlushCompress::Sync)
        .unwrap();
    // What ends the block says nothing more, and need not have come.
    let readable = |came: &[u8]| {
        let mut plain = Vec::with_capacity(1024);
        let mut decompress = Decompress::new(false);
        decompress
            .decompress_vec(came, &mut plain, FlushDecompress::None)
            .unwrap();
        plain == ok()
    };
    let asked = async_nsq::Compression::Deflate { level: 6 };
    assert_closed_unless(readable, r#"{"deflate":true}"#, asked, &compressed).await;
}
