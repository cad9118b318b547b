//! The sizes nsqd takes, and the delays: one byte or millisecond more closes the connection, so the client
//! checks before it sends.

use std::time::Duration;

use async_nsq::{ConnectionConfig, ErrorCode};
use safelight_testkit::require_nsq;
use serde_json::json;

use crate::raw::RawClient;
use crate::support::*;

const FLAGS: [&str; 3] = [
    "--max-msg-size=100",
    "--max-body-size=1000",
    "--max-req-timeout=1m",
];

/// Sends one command on a connection of its own, and gives the code it is refused with.
macro_rules! refused {
    ($nsqd:expr, $code:expr, $client:ident => $send:expr) => {{
        let (mut $client, _) = RawClient::introduced($nsqd.tcp_address(), json!({})).await;
        $send.await;
        $client.expect_fatal($code).await
    }};
}

#[tokio::test]
async fn a_message_or_batch_that_is_empty_or_too_large_is_fatal_each_with_its_code() {
    require_nsq!();
    let nsqd = nsqd(&FLAGS).await;
    let (fits, too_large): (&[u8], &[u8]) = (&[1; 100], &[1; 101]);

    let (mut client, _) = RawClient::introduced(nsqd.tcp_address(), json!({})).await;
    client.send_sized("PUB images\n", fits).await;
    client.expect_ok().await;
    client.send_batch("MPUB images\n", &[fits; 9]).await;
    client.expect_ok().await;

    refused!(nsqd, ErrorCode::BadMessage, client => client.send_sized("PUB images\n", b""));
    let error = refused!(nsqd, ErrorCode::BadMessage, client => client.send_sized("PUB images\n", too_large));
    assert!(error.detail.contains("too big 101 > 100"), "{error}");
    refused!(nsqd, ErrorCode::BadMessage, client => client.send_announced("PUB images\n", -1, b""));

    refused!(nsqd, ErrorCode::BadMessage, client => client.send_batch("MPUB images\n", &[fits, too_large]));
    refused!(nsqd, ErrorCode::BadMessage, client => client.send_batch("MPUB images\n", &[fits, b""]));
    refused!(nsqd, ErrorCode::BadBody, client => client.send_batch("MPUB images\n", &[]));
    refused!(nsqd, ErrorCode::BadBody, client => client.send_batch("MPUB images\n", &[fits; 10]));
    refused!(nsqd, ErrorCode::BadBody, client => client.send_announced("MPUB images\n", -1, b""));

    refused!(nsqd, ErrorCode::BadMessage, client => client.send_sized("DPUB images 10\n", b""));
    refused!(nsqd, ErrorCode::BadMessage, client => client.send_sized("DPUB images 10\n", too_large));
}

#[tokio::test]
async fn a_deferred_message_is_held_and_a_delay_over_the_limit_is_fatal() {
    require_nsq!();
    let nsqd = nsqd(&FLAGS).await;
    nsqd.create_channel("images", "ch").await;
    let producer = producer(nsqd.tcp_address(), &ConnectionConfig::default());
    let longest = Duration::from_secs(60);
    producer
        .publish_deferred(&topic(), "later", longest)
        .await
        .unwrap();
    eventually("it is held", || async {
        nsqd.channel("images", "ch").await.deferred == 1
    })
    .await;
    refused!(nsqd, ErrorCode::Invalid, client => client.send_sized("DPUB images 60001\n", b"x"));
    refused!(nsqd, ErrorCode::Invalid, client => client.send_sized("DPUB images -1\n", b"x"));
}
