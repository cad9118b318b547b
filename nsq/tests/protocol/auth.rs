//! AUTH, with an authorization server of the tests' own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nsq::{AuthSecret, ConnectionConfig, ConnectionError, ErrorCode, PublishError, Topic};
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use safelight_testkit::{Nsqd, require_nsq};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::*;
use crate::unix_socket::nsqd_on_socket;

/// Answers nsqd's questions with what it was told last.
struct AuthServer {
    address: SocketAddr,
    rights: Arc<Mutex<Value>>,
    questions: Arc<Mutex<Vec<String>>>,
}

// === impl AuthServer ===

impl AuthServer {
    async fn start(rights: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            rights: Arc::new(Mutex::new(rights)),
            questions: Arc::default(),
        };
        let (rights, questions) = (server.rights.clone(), server.questions.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (rights, questions) = (rights.clone(), questions.clone());
                let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                    let question = request.uri().query().unwrap_or_default().to_owned();
                    questions.lock().unwrap().push(question);
                    let answer = rights.lock().unwrap().to_string();
                    async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(answer))) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        server
    }

    async fn nsqd(&self, flags: &[&str]) -> Nsqd {
        let address = format!("--auth-http-address={}", self.address);
        nsqd(&[flags, &[address.as_str()]].concat()).await
    }

    fn set(&self, rights: Value) {
        *self.rights.lock().unwrap() = rights;
    }

    fn questions(&self) -> Vec<String> {
        self.questions.lock().unwrap().clone()
    }
}

/// What the server says of somebody with these rights on the topic `images`.
fn rights(permissions: &[&str], ttl: u32) -> Value {
    json!({
        "ttl": ttl,
        "identity": "worker",
        "identity_url": "http://people.test/worker",
        "authorizations": [{"topic": "images", "channels": [".*"], "permissions": permissions}],
    })
}

fn with_secret(secret: &str) -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.auth_secret = Some(AuthSecret::from(secret));
    config
}

async fn code_of(nsqd: &Nsqd, config: &ConnectionConfig) -> ErrorCode {
    match config.probe(&nsqd.tcp_address().to_string()).await {
        Err(ConnectionError::Server(error)) => error.code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_with_the_right_secret_publishes_and_consumes() {
    require_nsq!();
    let server = AuthServer::start(rights(&["publish", "subscribe"], 60)).await;
    let nsqd = server.nsqd(&[]).await;
    let config = with_secret("s3cret & more");
    let negotiated = config.probe(&nsqd.tcp_address().to_string()).await.unwrap();
    let authorization = negotiated.authorization.unwrap();
    assert!(negotiated.auth_required);
    assert_eq!(authorization.identity, "worker");
    assert_eq!(authorization.identity_url, "http://people.test/worker");
    assert_eq!(authorization.permission_count, 1);
    let question = server.questions().pop().unwrap();
    assert!(question.contains("secret=s3cret+%26+more"), "{question}");
    assert!(question.contains("tls=false"), "{question}");

    assert_carried(nsqd.tcp_address(), &config).await;
}

#[tokio::test]
async fn without_a_secret_an_nsqd_that_wants_one_is_told_as_such() {
    require_nsq!();
    let server = AuthServer::start(rights(&["publish"], 60)).await;
    let nsqd = server.nsqd(&[]).await;
    let error = ConnectionConfig::default()
        .probe(&nsqd.tcp_address().to_string())
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectionError::AuthSecretMissing), "{error:?}");
    assert!(server.questions().is_empty());
}

#[tokio::test]
async fn an_nsqd_that_wants_no_secret_is_not_told_it() {
    require_nsq!();
    // It would refuse AUTH and close.
    let nsqd = nsqd(&[]).await;
    let negotiated = with_secret("s3cret")
        .probe(&nsqd.tcp_address().to_string())
        .await
        .unwrap();
    assert!(!negotiated.auth_required);
    assert_eq!(negotiated.authorization, None);
}

#[tokio::test]
async fn a_secret_without_rights_is_refused_and_a_server_that_fails_is_another_refusal() {
    require_nsq!();
    let server = AuthServer::start(json!({"ttl": 60, "authorizations": []})).await;
    let nsqd = server.nsqd(&[]).await;
    let config = with_secret("unknown");
    assert_eq!(code_of(&nsqd, &config).await, ErrorCode::Unauthorized);
    server.set(json!({"ttl": 0}));
    assert_eq!(code_of(&nsqd, &config).await, ErrorCode::AuthFailed);
}

#[tokio::test]
async fn a_right_that_is_missing_refuses_the_one_publish_or_subscription() {
    require_nsq!();
    let server = AuthServer::start(rights(&["publish"], 60)).await;
    let nsqd = server.nsqd(&[]).await;
    let config = with_secret("s3cret");
    let producer = producer(nsqd.tcp_address(), &config);
    producer.publish(&topic(), "allowed").await.unwrap();
    let elsewhere = Topic::new("elsewhere").unwrap();
    match producer.publish(&elsewhere, "forbidden").await {
        Err(PublishError::Rejected(error)) => assert_eq!(error.code, ErrorCode::Unauthorized),
        other => panic!("{other:?}"),
    }
    producer.publish(&topic(), "allowed again").await.unwrap();

    server.set(rights(&["publish"], 60));
    let consumer = consumer(nsqd.tcp_address(), &config);
    let mut state = consumer.control().watch_state();
    let refused = state.wait_for(|state| match &state.last_error {
        Some(ConnectionError::Server(error)) => error.code == ErrorCode::Unauthorized,
        _ => false,
    });
    tokio::time::timeout(LIMIT, refused).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_right_that_is_taken_away_refuses_a_later_publish() {
    require_nsq!();
    let server = AuthServer::start(rights(&["publish"], 1)).await;
    let nsqd = server.nsqd(&[]).await;
    let producer = producer(nsqd.tcp_address(), &with_secret("s3cret"));
    producer.publish(&topic(), "while it lasts").await.unwrap();
    server.set(rights(&["subscribe"], 1));
    let give_up = tokio::time::Instant::now() + LIMIT;
    // nsqd asks again when its answer is a second old.
    let error = loop {
        match producer.publish(&topic(), "more").await {
            Ok(()) => assert!(tokio::time::Instant::now() < give_up, "the right never ends"),
            Err(PublishError::Rejected(error)) => break error,
            Err(other) => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(error.code, ErrorCode::Unauthorized);
    assert!(server.questions().len() >= 2);
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn the_name_on_a_client_certificate_reaches_the_authorization_server() {
    require_nsq!();
    let authority = crate::certificates::Authority::new();
    let files = authority.server();
    let server = AuthServer::start(rights(&["publish", "subscribe"], 60)).await;
    let nsqd = server
        .nsqd(&files.flags_and(&["--tls-client-auth-policy=require-verify"]))
        .await;
    let mut config = authority.config_showing(&authority.leaf("client.test"));
    config.auth_secret = Some("s3cret".into());
    assert_carried(nsqd.tcp_address(), &config).await;
    let question = server.questions().pop().unwrap();
    assert!(question.contains("common_name=client.test"), "{question}");
    assert!(question.contains("tls=true"), "{question}");
}

#[cfg(any(feature = "snappy", feature = "deflate"))]
#[tokio::test]
async fn a_secret_is_told_through_a_compression() {
    require_nsq!();
    let server = AuthServer::start(rights(&["publish", "subscribe"], 60)).await;
    let nsqd = server.nsqd(&[]).await;
    for compression in [
        #[cfg(feature = "snappy")]
        async_nsq::Compression::Snappy,
        #[cfg(feature = "deflate")]
        async_nsq::Compression::Deflate { level: 6 },
    ] {
        let mut config = with_secret("s3cret");
        config.compression = compression;
        let negotiated = config.probe(&nsqd.tcp_address().to_string()).await.unwrap();
        assert!(negotiated.compression.is_some() && negotiated.authorization.is_some());
        assert_carried(nsqd.tcp_address(), &config).await;
    }
}

#[tokio::test]
async fn a_secret_is_told_over_a_unix_socket() {
    require_nsq!();
    let server = AuthServer::start(rights(&["publish", "subscribe"], 60)).await;
    let flag = format!("--auth-http-address={}", server.address);
    let (_process, _directory, address) = nsqd_on_socket(&[&flag]).await;
    assert_carried(&address, &with_secret("s3cret")).await;
    assert!(!server.questions().is_empty());
}
