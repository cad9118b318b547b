//! Hanging up, or refusing, at every point.

use async_nsq::{ConnectionError, Consumer, ConsumerConfig, ErrorCode, PublishError};
use futures::future::join_all;
use tokio::time::timeout;

use crate::server::*;

const ANSWER: &str = r#"{"max_rdy_count":100,"msg_timeout":60000,"version":"9.9.9"}"#;

#[tokio::test]
async fn a_server_that_hangs_up_at_any_byte_of_the_handshake_is_closed() {
    let answer = granting(ANSWER);
    let probes = (0..answer.len()).map(|cut| {
        let config = playing(vec![
            Act::Await("IDENTIFY"),
            Act::Say(answer[..cut].to_vec()),
            Act::HangUp,
        ]);
        async move { (cut, timeout(LIMIT, config.probe("nsqd.test:4150")).await.unwrap()) }
    });
    for (cut, probed) in join_all(probes).await {
        let error = probed.unwrap_err();
        assert!(
            matches!(error, ConnectionError::Closed),
            "after {cut} bytes: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_before_it_was_spoken_to_is_closed_or_broken() {
    let config = playing(vec![Act::HangUp]);
    let error = config.probe("nsqd.test:4150").await.unwrap_err();
    assert!(
        matches!(error, ConnectionError::Closed | ConnectionError::Io(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_hangs_up_at_any_byte_of_an_answer_leaves_the_publish_unknown() {
    let answer = [heartbeat(), ok()].concat();
    let publishes = (0..answer.len()).map(|cut| {
        let producer = producer(playing(vec![
            Act::Await("IDENTIFY"),
            Act::Say(ok()),
            Act::Await("PUB t"),
            Act::Say(answer[..cut].to_vec()),
            Act::HangUp,
        ]));
        async move {
            let published = producer.publish(&topic(), "body").await;
            (cut, published)
        }
    });
    for (cut, published) in timeout(LIMIT, join_all(publishes)).await.unwrap() {
        assert!(
            matches!(
                published,
                Err(PublishError::Unknown(
                    ConnectionError::Closed | ConnectionError::Io(_)
                ))
            ),
            "after {cut} bytes: {published:?}"
        );
    }
}

#[tokio::test]
async fn a_refusal_at_any_point_of_the_handshake_is_told_with_its_code() {
    let refused = || Act::Say(refusal("E_BAD_BODY IDENTIFY no"));
    let at_once = vec![refused(), Act::HangUp];
    let to_identify = vec![Act::Await("IDENTIFY"), refused(), Act::HangUp];
    let wants_auth = granting(r#"{"auth_required":true}"#);
    let to_auth = vec![
        Act::Await("IDENTIFY"),
        Act::Say(wants_auth),
        Act::Await("AUTH"),
        refused(),
        Act::HangUp,
    ];
    for acts in [at_once, to_identify, to_auth] {
        let mut config = playing(acts.clone());
        config.auth_secret = Some("secret".into());
        match config.probe("nsqd.test:4150").await {
            Err(ConnectionError::Server(error)) => assert_eq!(error.code, ErrorCode::BadBody),
            other => panic!("{acts:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_error_of_a_code_that_nobody_knows_concerns_one_publish_and_the_next_goes_on() {
    let producer = producer(playing(vec![
        Act::Await("IDENTIFY"),
        Act::Say(ok()),
        Act::Await("PUB t"),
        Act::Say(refusal("E_NEW_IN_9 because")),
        Act::Await("PUB t"),
        Act::Say(ok()),
    ]));
    match producer.publish(&topic(), "first").await {
        Err(PublishError::Rejected(error)) => assert_eq!(error.code.as_str(), "E_NEW_IN_9"),
        other => panic!("{other:?}"),
    }
    producer.publish(&topic(), "second").await.unwrap();
}

#[tokio::test]
async fn a_server_that_refuses_in_the_middle_of_a_subscription_is_told_with_its_code() {
    let mut config = ConsumerConfig::new(topic(), "ch".parse().unwrap());
    config.nsqd = vec!["nsqd.test:4150".to_owned()];
    config.connection = playing(vec![
        Act::Await("IDENTIFY"),
        Act::Say(ok()),
        Act::Await("SUB"),
        Act::Say(ok()),
        Act::Await("RDY"),
        Act::Say([heartbeat(), refusal("E_INVALID RDY count 5 out of range 0-4")].concat()),
        Act::HangUp,
    ]);
    let consumer = Consumer::start(config).unwrap();
    let mut state = consumer.control().watch_state();
    let refused = state.wait_for(|state| match &state.last_error {
        Some(ConnectionError::Server(error)) => error.code == ErrorCode::Invalid,
        _ => false,
    });
    timeout(LIMIT, refused).await.unwrap().unwrap();
}

#[tokio::test]
async fn answers_to_nothing_end_the_connection() {
    let producer = producer(playing(vec![
        Act::Await("IDENTIFY"),
        Act::Say([ok(), ok()].concat()),
    ]));
    let mut state = producer.watch_state();
    let lost = state.wait_for(|state| match state {
        async_nsq::ProducerState::Disconnected(Some(error)) => matches!(error, ConnectionError::Protocol(_)),
        _ => false,
    });
    timeout(LIMIT, lost).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_layer_that_was_not_asked_for_is_refused() {
    for granted in [r#"{"tls_v1":true}"#, r#"{"snappy":true}"#, r#"{"deflate":true}"#] {
        let config = playing(vec![Act::Await("IDENTIFY"), Act::Say(granting(granted))]);
        let error = config.probe("nsqd.test:4150").await.unwrap_err();
        assert!(
            matches!(error, ConnectionError::Protocol(_)),
            "{granted}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_no_json_or_of_wrong_types_is_refused() {
    for answer in [
        "",
        "ok",
        "{",
        "[]",
        r#"{"max_rdy_count":-1}"#,
        r#"{"msg_timeout":"1s"}"#,
        r#"{"sample_rate":4294967296}"#,
        r#"{"auth_required":1}"#,
    ] {
        let config = playing(vec![Act::Await("IDENTIFY"), Act::Say(granting(answer))]);
        let error = config.probe("nsqd.test:4150").await.unwrap_err();
        assert!(
            matches!(error, ConnectionError::Protocol(_)),
            "{answer}: {error:?}"
        );
    }
}

#[cfg(any(feature = "snappy", feature = "deflate"))]
#[tokio::test]
async fn a_compression_that_begins_with_garbage_or_without_ok_is_refused() {
    #[cfg(feature = "snappy")]
    let (granted, asked) = (r#"{"snappy":true}"#, async_nsq::Compression::Snappy);
    #[cfg(not(feature = "snappy"))]
    let (granted, asked) = (
        r#"{"deflate":true}"#,
        async_nsq::Compression::Deflate { level: 1 },
    );
    for garbage in [
        ok(),
        vec![0xff; 300],
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
    ] {
        let mut config = playing(vec![
            Act::Await("IDENTIFY"),
            Act::Say([granting(granted), garbage].concat()),
            Act::HangUp,
        ]);
        config.compression = asked;
        let error = config.probe("nsqd.test:4150").await.unwrap_err();
        assert!(
            matches!(error, ConnectionError::Io(_) | ConnectionError::Closed),
            "{error:?}"
        );
    }
}
