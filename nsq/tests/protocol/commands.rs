//! nsqd's rules for commands, of which the client's own checks and its reading of errors are made.

use async_nsq::{Channel, ErrorCode, Frame, Topic};
use safelight_testkit::require_nsq;
use serde_json::json;

use crate::raw::RawClient;
use crate::support::*;

#[tokio::test]
async fn names_are_refused_by_nsqd_exactly_where_they_are_refused_here() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let long = "a".repeat(64);
    let too_long = "a".repeat(65);
    let ephemeral = format!("{}#ephemeral", "a".repeat(54));
    let too_long_ephemeral = format!("{}#ephemeral", "a".repeat(55));
    for name in [
        "a",
        "A.b-c_9",
        &long,
        &too_long,
        "x#ephemeral",
        &ephemeral,
        &too_long_ephemeral,
        "#ephemeral",
        "a#b",
        "a/b",
        "a*",
        "ümlaut",
    ] {
        for (command, code, taken) in [
            (
                format!("SUB {name} ch\n"),
                ErrorCode::BadTopic,
                Topic::new(name).is_ok(),
            ),
            (
                format!("SUB t {name}\n"),
                ErrorCode::BadChannel,
                Channel::new(name).is_ok(),
            ),
        ] {
            let (mut client, _) = RawClient::introduced(nsqd.tcp_address(), json!({})).await;
            client.send(&command).await;
            if taken {
                client.expect_ok().await;
            } else {
                client.expect_fatal(code).await;
            }
        }
        let (mut client, _) = RawClient::introduced(nsqd.tcp_address(), json!({})).await;
        client.send_sized(&format!("PUB {name}\n"), b"x").await;
        if Topic::new(name).is_ok() {
            client.expect_ok().await;
        } else {
            client.expect_fatal(ErrorCode::BadTopic).await;
        }
    }
}

#[tokio::test]
async fn blank_lines_are_no_commands() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let (mut client, _) = RawClient::introduced(nsqd.tcp_address(), json!({})).await;
    client.send("\n\n").await;
    client.expect_fatal(ErrorCode::Invalid).await;
}

#[tokio::test]
async fn an_unknown_command_closes_the_connection_and_what_is_behind_it_is_not_looked_at() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let (mut client, _) = RawClient::introduced(nsqd.tcp_address(), json!({})).await;
    let mut behind = b"NONSENSE\nPUB images\n\0\0\0\x01".to_vec();
    behind.push(b'x');
    client.send(std::str::from_utf8(&behind).unwrap()).await;
    client.expect_fatal(ErrorCode::Invalid).await;
    assert_eq!(nsqd.stats().await["topics"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn another_protocol_is_refused_by_name() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let mut stream = tokio::net::TcpStream::connect(nsqd.tcp_address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"  V9")
        .await
        .unwrap();
    let mut said = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut said).await;
    let word = ErrorCode::BadProtocol;
    assert!(said.ends_with(word.as_str().as_bytes()), "{said:?}");
}

#[tokio::test]
async fn an_answer_with_an_id_that_is_none_is_fatal() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    for command in ["FIN short\n", "REQ short 0\n", "TOUCH short\n", "FIN\n"] {
        let mut client = RawClient::subscribed(nsqd.tcp_address(), 1).await;
        client.send(command).await;
        client.expect_fatal(ErrorCode::Invalid).await;
    }
}

#[tokio::test]
async fn an_answer_to_a_message_that_nsqd_has_given_up_names_it_and_is_not_fatal() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    let mut client = RawClient::subscribed(nsqd.tcp_address(), 1).await;
    let id = "0123456789abcdef";
    for (command, code) in [
        (format!("FIN {id}\n"), ErrorCode::FinFailed),
        (format!("REQ {id} 0\n"), ErrorCode::ReqFailed),
        (format!("TOUCH {id}\n"), ErrorCode::TouchFailed),
    ] {
        client.send(&command).await;
        let error = client.expect_error(code.clone()).await;
        assert!(!error.code.is_fatal());
        let failed = error.failed_answer().unwrap();
        assert_eq!(
            (failed.code, failed.id.as_bytes().as_slice()),
            (code, id.as_bytes())
        );
    }
    client.send("CLS\n").await;
    assert_eq!(client.frame().await, Some(Frame::Response("CLOSE_WAIT".into())));
}

#[tokio::test]
async fn a_rdy_over_what_nsqd_told_is_fatal() {
    require_nsq!();
    let nsqd = nsqd(&["--max-rdy-count=50"]).await;
    let (mut client, answer) = RawClient::introduced(nsqd.tcp_address(), json!({})).await;
    assert_eq!(answer["max_rdy_count"], 50);
    client.send("SUB images ch\n").await;
    client.expect_ok().await;
    client.send("RDY 50\n").await;
    client.send("RDY 51\n").await;
    client.expect_fatal(ErrorCode::Invalid).await;
}

#[tokio::test]
async fn a_requeue_may_have_any_delay_from_zero_and_nsqd_shortens_what_is_too_long() {
    require_nsq!();
    let nsqd = nsqd(&["--max-req-timeout=1m"]).await;
    let mut publisher = RawClient::introduced(nsqd.tcp_address(), json!({})).await.0;
    publisher.send_sized("PUB images\n", b"again").await;
    publisher.expect_ok().await;
    let mut client = RawClient::subscribed(nsqd.tcp_address(), 1).await;
    let message = client.expect_message().await;
    assert_eq!(message.attempts, 1);
    client.send(&format!("REQ {} 0\n", message.id)).await;
    let message = client.expect_message().await;
    assert_eq!(message.attempts, 2);
    client.send(&format!("REQ {} 99999999\n", message.id)).await;
    eventually("it is deferred", || async {
        nsqd.channel("images", "ch").await.deferred == 1
    })
    .await;
    client.send("REQ 0123456789abcdef -1\n").await;
    client.expect_fatal(ErrorCode::Invalid).await;
}

#[tokio::test]
async fn commands_that_do_not_fit_the_state_are_fatal() {
    require_nsq!();
    let nsqd = nsqd(&[]).await;
    for command in ["RDY 1\n", "FIN 0123456789abcdef\n", "CLS\n", "SUB images\n"] {
        let (mut client, _) = RawClient::introduced(nsqd.tcp_address(), json!({})).await;
        client.send(command).await;
        client.expect_fatal(ErrorCode::Invalid).await;
    }
    let mut client = RawClient::subscribed(nsqd.tcp_address(), 1).await;
    client.send("SUB images other\n").await;
    client.expect_fatal(ErrorCode::Invalid).await;
}
