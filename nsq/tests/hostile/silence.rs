//! Servers that stop: by paused time, which passes while everybody waits.

use std::time::Duration;

use async_nsq::{ConnectionError, PublishError};
use tokio::time::Instant;

use crate::server::*;

#[tokio::test(start_paused = true)]
async fn heartbeats_that_stop_end_the_connection_after_two_intervals() {
    let mut config = playing(vec![
        Act::Await("IDENTIFY"),
        Act::Say(ok()),
        Act::Await("PUB"),
        Act::Say(heartbeat()),
    ]);
    config.heartbeat_interval = Duration::from_secs(3);
    let began = Instant::now();
    let published = producer(config).publish(&topic(), "unheard").await;
    assert!(
        matches!(published, Err(PublishError::Unknown(ConnectionError::Silent(limit))) if limit == Duration::from_secs(6)),
        "{published:?}"
    );
    let waited = began.elapsed();
    assert!((6..8).contains(&waited.as_secs()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_fails_the_handshake_in_time() {
    let config = playing(vec![Act::Await("IDENTIFY")]);
    let began = Instant::now();
    let error = config.probe("nsqd.test:4150").await.unwrap_err();
    assert!(
        matches!(error, ConnectionError::HandshakeTimeout { .. }),
        "{error:?}"
    );
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_babbles_heartbeats_for_ever_does_not_pass_for_one_that_answers() {
    let config = playing(vec![Act::Repeat(heartbeat(), 1_000_000)]);
    let probed = config.probe("nsqd.test:4150").await;
    // A handshake that ends by time or by the end of the babble; it is an error in both cases.
    assert!(probed.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_nothing_is_stalled() {
    let (mut config, mut servers) = accepted(1024);
    config.heartbeats = false;
    config.write_timeout = Duration::from_secs(2);
    let producer = producer(config);
    let topic = topic();
    let publishing = producer.publish(&topic, vec![b'x'; 100_000]);
    let serving = async {
        use tokio::io::AsyncWriteExt;
        let mut server = servers.recv().await.unwrap();
        server.write_all(&ok()).await.unwrap();
        // Held, and never read.
        let began = Instant::now();
        let again = servers.recv().await;
        drop((server, again));
        began.elapsed()
    };
    tokio::select! {
        waited = serving => assert!(waited >= Duration::from_secs(2), "{waited:?}"),
        published = publishing => panic!("{published:?}"),
    }
}

#[cfg(feature = "snappy")]
#[tokio::test(start_paused = true)]
async fn a_layer_whose_ok_never_comes_fails_the_handshake_in_time() {
    let mut config = playing(vec![
        Act::Await("IDENTIFY"),
        Act::Say(granting(r#"{"snappy":true}"#)),
    ]);
    config.compression = async_nsq::Compression::Snappy;
    let error = config.probe("nsqd.test:4150").await.unwrap_err();
    assert!(
        matches!(error, ConnectionError::HandshakeTimeout { .. }),
        "{error:?}"
    );
}
