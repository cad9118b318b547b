//! Which calls are made again, where, and how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response};
use safelight_mesh::{CallFailure, Methods, Settings, Target, failure_of};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use crate::load::{all_of, hasty, identify, methods, ready, target};
use crate::server::{Manner, Running, Server};

async fn three() -> Vec<Running> {
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(Server::new().start().await);
    }
    running
}

fn all(running: &[Running]) -> String {
    all_of(running.iter().map(|running| running.server.address))
}

fn calls(running: &[Running]) -> usize {
    running.iter().map(|running| running.server.calls()).sum()
}

/// Room for every retry.
fn generous() -> Settings {
    Settings {
        retry_floor: 1_000.0,
        consecutive_failures: 1_000,
        ..hasty()
    }
}

#[tokio::test]
async fn a_call_that_may_be_repeated_goes_to_each_endpoint_once() {
    let running = three().await;
    for server in &running {
        server.server.manner.send_replace(Manner::Unavailable);
    }
    let target = target(&all(&running), generous());
    ready(&target, 3).await;
    let status = identify(&target.channel()).await.unwrap_err();
    assert_eq!(failure_of(&status), CallFailure::Answered(Code::Unavailable));
    let each: Vec<usize> = running.iter().map(|running| running.server.calls()).collect();
    assert_eq!(
        each,
        [1, 1, 1],
        "three tries, and none twice at the same endpoint"
    );
}

#[tokio::test]
async fn a_call_whose_proto_does_not_allow_it_is_not_made_again() {
    let running = three().await;
    for server in &running {
        server.server.manner.send_replace(Manner::Unavailable);
    }
    let target = Target::builder("recognizer", all(&running))
        .settings(generous())
        .methods(Methods::default())
        .connect()
        .unwrap();
    ready(&target, 3).await;
    identify(&target.channel()).await.unwrap_err();
    assert_eq!(calls(&running), 1);
}

#[tokio::test]
async fn a_single_endpoint_is_tried_again_after_a_backoff() {
    let running = vec![Server::new().start().await];
    running[0].server.manner.send_replace(Manner::HalfUnavailable);
    let settings = Settings {
        retry_backoff: Duration::from_millis(100),
        ..generous()
    };
    let target = target(&all(&running), settings);
    ready(&target, 1).await;
    let begun = Instant::now();
    identify(&target.channel()).await.unwrap();
    assert!(
        begun.elapsed() >= Duration::from_millis(50),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(calls(&running), 2);
}

/// A server that answers each call as it is told, and counts them.
async fn scripted(
    answer: impl Fn(Request<h2::RecvStream>, SendResponse<Bytes>) + Clone + Send + 'static,
) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (answer, counted) = (answer.clone(), counted.clone());
            tokio::spawn(async move {
                let mut connection: Connection<TcpStream, Bytes> =
                    h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    counted.fetch_add(1, Ordering::SeqCst);
                    answer(request, respond);
                }
            });
        }
    });
    (address, count)
}

fn trailers_only(mut respond: SendResponse<Bytes>, code: Code, pushback: Option<&'static str>) {
    let mut response = Response::new(());
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", (code as i32).into());
    if let Some(pushback) = pushback {
        headers.insert("grpc-retry-pushback-ms", HeaderValue::from_static(pushback));
    }
    respond.send_response(response, true).unwrap();
}

fn well(mut respond: SendResponse<Bytes>) {
    let mut response = Response::new(());
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut body = respond.send_response(response, false).unwrap();
    // An empty message: flags and a length of zero.
    body.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    body.send_trailers(trailers).unwrap();
}

fn to(address: std::net::SocketAddr) -> Target {
    Target::builder("scripted", format!("http://{address}"))
        .settings(generous())
        .methods(methods())
        .connect()
        .unwrap()
}

#[tokio::test]
async fn a_server_that_says_do_not_retry_is_obeyed() {
    for pushback in ["-1", "soon"] {
        let (address, count) =
            scripted(move |_, respond| trailers_only(respond, Code::Unavailable, Some(pushback))).await;
        identify(&to(address).channel()).await.unwrap_err();
        assert_eq!(count.load(Ordering::SeqCst), 1, "{pushback}");
    }
}

#[tokio::test]
async fn a_server_that_asks_to_be_left_alone_gets_no_call_for_exactly_that_long() {
    let count = Arc::new(AtomicUsize::new(0));
    let told = count.clone();
    let (address, _) = scripted(move |_, respond| {
        if told.fetch_add(1, Ordering::SeqCst) == 0 {
            trailers_only(respond, Code::ResourceExhausted, Some("300"));
        } else {
            well(respond);
        }
    })
    .await;
    let target = to(address);
    let begun = Instant::now();
    // The call itself waits, or is refused while the circuit is open; either way nobody is called before.
    let _first = identify(&target.channel()).await;
    while identify(&target.channel()).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::task::yield_now().await;
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(295),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_stream_that_was_refused_goes_elsewhere_at_once_whatever_the_method() {
    let (refusing, refused) = scripted(|_, mut respond| respond.send_reset(h2::Reason::REFUSED_STREAM)).await;
    let (answering, answered) = scripted(|_, respond| well(respond)).await;
    let target = Target::builder("scripted", all_of([refusing, answering]))
        .settings(Settings {
            retry_budget: 0.0,
            retry_floor: 0.0,
            ..generous()
        })
        .connect()
        .unwrap();
    ready(&target, 2).await;
    for _ in 0..50 {
        identify(&target.channel()).await.unwrap();
    }
    assert_eq!(answered.load(Ordering::SeqCst), 50);
    assert!(refused.load(Ordering::SeqCst) >= 1, "none was refused");
}

#[tokio::test]
async fn a_call_that_its_server_broke_off_is_handed_on_unless_that_is_switched_off() {
    for (retry_broken, expected) in [(true, 3), (false, 1)] {
        let mut addresses = Vec::new();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let (address, calls) =
                scripted(|_, mut respond| respond.send_reset(h2::Reason::INTERNAL_ERROR)).await;
            addresses.push(address);
            seen.push(calls);
        }
        let settings = Settings {
            retry_broken,
            ..generous()
        };
        let target = Target::builder("scripted", all_of(addresses))
            .settings(settings)
            .methods(methods())
            .connect()
            .unwrap();
        ready(&target, 3).await;
        let status = identify(&target.channel()).await.unwrap_err();
        assert_eq!(failure_of(&status), CallFailure::Broken, "{status}");
        let calls: usize = seen.iter().map(|calls| calls.load(Ordering::SeqCst)).sum();
        assert_eq!(calls, expected, "retry_broken: {retry_broken}");
    }
}

#[tokio::test]
async fn a_hedged_call_is_answered_by_the_quicker_of_two() {
    let running = vec![Server::new().start().await, Server::new().start().await];
    running[0]
        .server
        .manner
        .send_replace(Manner::Slow(Duration::from_secs(60)));
    let settings = Settings {
        hedge_after: Some(Duration::from_millis(50)),
        ..generous()
    };
    let target = target(&all(&running), settings);
    ready(&target, 2).await;
    while running[0].server.calls() == 0 {
        let begun = Instant::now();
        identify(&target.channel()).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    // The slow try was dropped, and said nothing about its endpoint.
    assert_eq!(
        target
            .snapshot()
            .endpoints
            .iter()
            .map(|endpoint| endpoint.in_flight)
            .sum::<u32>(),
        0
    );
}

#[tokio::test]
async fn calls_beyond_the_limits_are_refused_and_said_to_be_unsent() {
    let running = vec![Server::new().start().await];
    running[0]
        .server
        .manner
        .send_replace(Manner::Slow(Duration::from_secs(60)));
    let settings = Settings {
        in_flight_limit: 2,
        wait_limit: 1,
        ..generous()
    };
    let target = target(&all(&running), settings);
    ready(&target, 1).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let channel = target.channel();
        calls.spawn(async move { identify(&channel).await });
    }
    while running[0].server.calls() < 2 || target.snapshot().waiting_calls < 1 {
        tokio::task::yield_now().await;
    }
    let status = identify(&target.channel()).await.unwrap_err();
    assert_eq!(failure_of(&status), CallFailure::NotSent);
    assert!(status.message().contains("queue full"), "{status:?}");
    assert_eq!(running[0].server.calls(), 2);
    calls.abort_all();
    while calls.join_next().await.is_some() {}
    running[0].server.manner.send_replace(Manner::Well);
    identify(&target.channel()).await.unwrap();
}
