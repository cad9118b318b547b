//! What nsqd does with messages on their way.

use std::time::Duration;

use async_nsq::{Channel, ConnectionConfig, Consumer, ErrorCode};
use safelight_testkit::require_nsq;
use tokio::time::Instant;

use crate::raw::RawClient;
use crate::support::*;

#[tokio::test]
async fn a_message_comes_with_what_was_published_and_its_first_attempt() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let config = ConnectionConfig::default();
    producer(nsqd.tcp_address(), &config)
        .publish(&topic(), "body")
        .await
        .unwrap();
    let mut consumer = consumer(nsqd.tcp_address(), &config);
    let message = next(&mut consumer).await;
    assert_eq!((message.body().as_ref(), message.attempts()), (&b"body"[..], 1));
    assert!(message.id().as_bytes().iter().all(u8::is_ascii_hexdigit));
    message.finish().unwrap();
}

#[tokio::test]
async fn every_channel_gets_a_copy() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let config = ConnectionConfig::default();
    let mut consumers = Vec::new();
    for name in ["one", "two"] {
        let mut config = consumer_config(nsqd.tcp_address(), &config);
        config.channel = Channel::new(name).unwrap();
        nsqd.create_channel("images", name).await;
        consumers.push(Consumer::start(config).unwrap());
    }
    producer(nsqd.tcp_address(), &config)
        .publish(&topic(), "copy")
        .await
        .unwrap();
    for consumer in &mut consumers {
        let message = next(consumer).await;
        assert_eq!(message.body(), "copy");
        message.finish().unwrap();
    }
}

#[tokio::test]
async fn a_late_finish_fails_by_name_and_the_connection_lives() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let connection = ConnectionConfig::default();
    producer(nsqd.tcp_address(), &connection)
        .publish(&topic(), "late")
        .await
        .unwrap();
    let asked = serde_json::json!({"msg_timeout": 1000});
    let (mut client, answer) = RawClient::introduced(nsqd.tcp_address(), asked).await;
    assert_eq!(answer["msg_timeout"], 1000);
    client.send("SUB images ch\nRDY 1\n").await;
    client.expect_ok().await;
    let first = client.expect_message().await;
    let again = client.expect_message().await;
    assert_eq!(
        (again.id, again.attempts),
        (first.id, 2),
        "it timed out and came again"
    );
    // This one is in flight, so it can be finished, once.
    client.send(&format!("FIN {0}\nFIN {0}\n", again.id)).await;
    let error = client.expect_error(ErrorCode::FinFailed).await;
    assert_eq!(error.failed_answer().unwrap().id, first.id);
    client.send("CLS\n").await;
    assert!(client.frame().await.is_some(), "the connection is still there");
}

#[tokio::test]
async fn a_touched_message_outlives_its_timeout() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let mut config = ConnectionConfig::default();
    config.msg_timeout = Some(Duration::from_secs(1));
    producer(nsqd.tcp_address(), &config)
        .publish(&topic(), "long")
        .await
        .unwrap();
    let mut consumer = consumer(nsqd.tcp_address(), &config);
    let message = next(&mut consumer).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        message.touch().unwrap();
        let touched = Instant::now();
        eventually("a third of the timeout has passed", || async {
            touched.elapsed() > Duration::from_millis(300)
        })
        .await;
    }
    message.finish().unwrap();
    eventually("it is finished", || async {
        let channel = nsqd.channel("images", "ch").await;
        (channel.in_flight, channel.depth, channel.timed_out) == (0, 0, 0)
    })
    .await;
}

#[tokio::test]
async fn a_paused_channel_delivers_nothing_until_it_goes_on() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    nsqd.create_channel("images", "ch").await;
    let config = ConnectionConfig::default();
    let set = async |what: &str| {
        let path = format!("/channel/{what}?topic=images&channel=ch");
        post(nsqd.http_address(), &path).await;
    };
    let mut consumer = consumer(nsqd.tcp_address(), &config);
    eventually("the consumer is ready", || async {
        client_of(&nsqd).await["ready_count"].as_u64() > Some(0)
    })
    .await;
    set("pause").await;
    producer(nsqd.tcp_address(), &config)
        .publish(&topic(), "held")
        .await
        .unwrap();
    eventually("the message is in the channel", || async {
        nsqd.channel("images", "ch").await.depth == 1
    })
    .await;
    let nothing = tokio::time::timeout(Duration::from_millis(200), consumer.next()).await;
    assert!(nothing.is_err(), "{nothing:?}");
    set("unpause").await;
    next(&mut consumer).await.finish().unwrap();
}

async fn post(address: std::net::SocketAddr, path: &str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("POST {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains(" 200 "), "{answer}");
}
