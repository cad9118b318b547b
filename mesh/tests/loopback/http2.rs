//! What a server can do to a call below gRPC: resets, GOAWAY, endings without trailers, silence.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::facerecog::{availability, hasty, identify};
use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, server};
use http::{HeaderMap, Request, Response};
use safelight_mesh::{CallFailure, Settings, Target, failure_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

type Exchange = (Request<h2::RecvStream>, SendResponse<Bytes>);

/// Serves every connection by this; gives the address.
async fn serve<F, S>(serving: S) -> String
where
    S: Fn(Connection<TcpStream, Bytes>) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let serving = Arc::new(serving);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let serving = serving.clone();
            tokio::spawn(async move {
                if let Ok(connection) = server::handshake(socket).await {
                    serving(connection).await;
                }
            });
        }
    });
    address
}

/// Answers every call of every connection by this.
async fn answer(answering: impl Fn(Exchange) + Clone + Send + Sync + 'static) -> String {
    serve(move |mut connection| {
        let answering = answering.clone();
        async move {
            while let Some(Ok(exchange)) = connection.accept().await {
                answering(exchange);
            }
        }
    })
    .await
}

fn grpc_headers() -> Response<()> {
    Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .unwrap()
}

fn message() -> Bytes {
    // An IdentifyResponse with the name "x".
    Bytes::from_static(b"\0\0\0\0\x03\x0a\x01x")
}

fn well((_, mut respond): Exchange) {
    let mut stream = respond.send_response(grpc_headers(), false).unwrap();
    stream.send_data(message(), false).unwrap();
    stream
        .send_trailers(HeaderMap::from_iter([(
            "grpc-status".parse().unwrap(),
            "0".parse().unwrap(),
        )]))
        .unwrap();
}

fn target(address: String, settings: Settings) -> Target {
    Target::builder("raw", address)
        .settings(settings)
        .connect()
        .unwrap()
}

async fn failure(target: &Target) -> CallFailure {
    failure_of(&identify(&target.channel()).await.unwrap_err())
}

#[tokio::test]
async fn a_stream_reset_before_its_headers_is_broken_and_counts() {
    let target = target(
        answer(|(_, mut respond)| respond.send_reset(Reason::INTERNAL_ERROR)).await,
        hasty(),
    );
    assert_eq!(failure(&target).await, CallFailure::Broken);
    assert_eq!(target.snapshot().endpoints[0].failures_in_a_row, 1);
}

#[tokio::test]
async fn a_refused_stream_was_not_processed_and_does_not_count() {
    let target = target(
        answer(|(_, mut respond)| respond.send_reset(Reason::REFUSED_STREAM)).await,
        hasty(),
    );
    for _ in 0..10 {
        assert_eq!(failure(&target).await, CallFailure::NotSent);
    }
    assert_eq!(target.snapshot().endpoints[0].failures_in_a_row, 0);
}

#[tokio::test]
async fn a_response_without_trailers_is_broken_and_counts() {
    let address = answer(|(_, mut respond)| {
        let mut stream = respond.send_response(grpc_headers(), false).unwrap();
        stream.send_data(message(), true).unwrap();
    })
    .await;
    let target = target(address, hasty());
    assert_eq!(failure(&target).await, CallFailure::Broken);
    assert_eq!(target.snapshot().endpoints[0].failures_in_a_row, 1);
    assert_eq!(
        target.snapshot().endpoints[0].circuit,
        "closed",
        "one failure is not five"
    );
}

#[tokio::test]
async fn a_reset_that_hyper_takes_for_a_clean_end_is_broken_and_counts() {
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let address = answer(move |(_, mut respond)| {
            let mut stream = respond.send_response(grpc_headers(), false).unwrap();
            stream.send_data(message(), false).unwrap();
            stream.send_reset(reason);
        })
        .await;
        let target = target(address, hasty());
        assert_eq!(failure(&target).await, CallFailure::Broken, "{reason:?}");
        assert_eq!(target.snapshot().endpoints[0].failures_in_a_row, 1, "{reason:?}");
    }
}

#[tokio::test]
async fn a_connection_that_closes_after_every_call_fails_none() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let address = serve(move |mut connection| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if let Some(Ok(exchange)) = connection.accept().await {
                well(exchange);
                connection.graceful_shutdown();
                // What comes after the GOAWAY is not processed.
                while connection.accept().await.is_some() {}
            }
        }
    })
    .await;
    let target = target(address, hasty());
    for call in 0..20 {
        let answered = identify(&target.channel()).await;
        assert_eq!(
            answered.unwrap_or_else(|status| panic!("call {call}: {status:?}")),
            "x"
        );
    }
    assert!(connections.load(Ordering::SeqCst) >= 10);
}

#[tokio::test]
async fn a_message_that_stalls_in_its_middle_ends_with_the_deadline() {
    let address = answer(|(_, mut respond)| {
        let mut stream = respond.send_response(grpc_headers(), false).unwrap();
        stream.send_data(message().slice(..6), false).unwrap();
        std::mem::forget(stream);
    })
    .await;
    let target = target(
        address,
        Settings {
            deadline: Duration::from_millis(50),
            ..hasty()
        },
    );
    let status = identify(&target.channel()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(failure_of(&status), CallFailure::TimedOut);
    assert_eq!(target.snapshot().endpoints[0].failures_in_a_row, 1);
}

#[tokio::test]
async fn details_that_are_not_base64_do_not_panic_the_caller() {
    let address = answer(|(request, mut respond)| {
        let mut map = HeaderMap::new();
        map.insert("grpc-status", "13".parse().unwrap());
        map.insert("grpc-status-details-bin", "{not base64}".parse().unwrap());
        let in_headers = request.uri().path().len().is_multiple_of(2);
        if in_headers {
            let mut response = grpc_headers();
            response.headers_mut().extend(map);
            respond.send_response(response, true).unwrap();
        } else {
            let mut stream = respond.send_response(grpc_headers(), false).unwrap();
            stream.send_trailers(map).unwrap();
        }
    })
    .await;
    let target = target(address, hasty());
    for path in ["/a/b", "/a/bc"] {
        let codec: tonic_prost::ProstCodec<(), ()> = tonic_prost::ProstCodec::default();
        let mut client = tonic::client::Grpc::new(target.channel());
        client.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static(path);
        let status = client
            .unary(tonic::Request::new(()), path, codec)
            .await
            .unwrap_err();
        assert_eq!(failure_of(&status), CallFailure::Answered(Code::Internal));
    }
}

/// Accepts connections, says the least that makes a server of HTTP/2, reads nothing, and falls silent.
async fn frozen() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            // An empty SETTINGS frame.
            socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
            held.push(socket);
        }
    });
    address
}

#[tokio::test]
async fn a_connection_to_a_frozen_server_is_given_up_though_nobody_calls() {
    let settings = Settings {
        keepalive_interval: Duration::from_millis(50),
        keepalive_timeout: Duration::from_millis(50),
        probe_interval: Duration::from_secs(600),
        ..hasty()
    };
    let target = target(frozen().await, settings);
    availability(&target, true).await;
    availability(&target, false).await;
    assert!(!target.snapshot().endpoints[0].connected);
}

#[tokio::test]
async fn a_call_on_a_frozen_connection_breaks_long_before_its_deadline() {
    let settings = Settings {
        keepalive_interval: Duration::from_millis(50),
        keepalive_timeout: Duration::from_millis(50),
        deadline: Duration::from_secs(600),
        ..hasty()
    };
    let target = target(frozen().await, settings);
    assert_eq!(failure(&target).await, CallFailure::Broken);
    assert_eq!(target.snapshot().endpoints[0].failures_in_a_row, 1);
}

#[tokio::test]
async fn a_dropped_target_closes_its_connection_once_its_channels_are_dropped_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(format!("http://{}", listener.local_addr().unwrap()), hasty());
    let (mut socket, _) = listener.accept().await.unwrap();
    let channel = target.channel();
    drop(target);
    let mut bytes = [0; 1024];
    assert!(socket.read(&mut bytes).await.unwrap() > 0, "the client's preface");
    drop(channel);
    let closed = async { while socket.read(&mut bytes).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(Duration::from_secs(10), closed)
        .await
        .expect("the connection is closed");
}

#[tokio::test]
async fn a_proxys_page_is_told_as_such() {
    for (status, code, failure, failures) in [
        (502, Code::Unavailable, CallFailure::Broken, 1),
        (503, Code::Unavailable, CallFailure::Broken, 1),
        (500, Code::Unknown, CallFailure::Broken, 1),
        (200, Code::Unknown, CallFailure::Broken, 1),
        (429, Code::Unavailable, CallFailure::Overloaded, 0),
        (
            404,
            Code::Unimplemented,
            CallFailure::Answered(Code::Unimplemented),
            0,
        ),
        (
            403,
            Code::PermissionDenied,
            CallFailure::Answered(Code::PermissionDenied),
            0,
        ),
    ] {
        let address = answer(move |(_, mut respond)| {
            let page = Response::builder()
                .status(status)
                .header("content-type", "text/html")
                .body(())
                .unwrap();
            respond
                .send_response(page, false)
                .unwrap()
                .send_data(Bytes::from_static(b"<h1>no"), true)
                .unwrap();
        })
        .await;
        let target = target(address, hasty());
        let answer = identify(&target.channel()).await.unwrap_err();
        assert_eq!(answer.code(), code, "{answer:?}");
        assert!(
            answer.message().ends_with(&format!("not gRPC but HTTP {status}")),
            "{answer}"
        );
        assert_eq!(failure_of(&answer), failure);
        assert_eq!(
            target.snapshot().endpoints[0].failures_in_a_row,
            failures,
            "{status}"
        );
    }
}
