//! The table of what is evidence, changed; and what a server asks for beside its status.

use http::{Request, Response};
use safelight_mesh::breaker::{
    BreakerLayer, Circuit, CircuitState, Classification, OpenedBy, Outcome, Policy,
};
use tokio::time::{Duration, Instant};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tonic::Code;
use tower::{Layer, Service};
use tower_test::mock;

use crate::scripted::{Frames, Handle, Mock, exchange, grpc_response, policy, spawn, trailers};

/// A response of headers alone.
fn headers_only(headers: &[(&'static str, &str)]) -> Response<Frames> {
    let mut response = grpc_response([]);
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    response
}

fn with_trailers(pairs: &[(&'static str, &str)]) -> Response<Frames> {
    let mut map = http::HeaderMap::new();
    for (name, value) in pairs {
        map.insert(*name, value.parse().unwrap());
    }
    grpc_response([Ok(http_body::Frame::trailers(map))])
}

#[tokio::test(start_paused = true)]
async fn a_servers_pushback_opens_for_exactly_that_long_from_trailers_and_from_headers_alone() {
    let pairs = [("grpc-status", "8"), ("grpc-retry-pushback-ms", "1250")];
    for response in [with_trailers(&pairs), headers_only(&pairs)] {
        let (circuit, mut service, mut handle) = spawn(policy());
        handle.allow(1);
        exchange(&mut service, &mut handle, response).await;
        let status = circuit.status();
        let time = Duration::from_millis(1250);
        assert_eq!(status.opened_by, Some(OpenedBy::Pushback { time }));
        assert_eq!(status.open_until, Some(Instant::now() + time));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pushback_that_says_do_not_retry_or_nothing_opens_nothing() {
    for value in ["-1", "0", "soon", "", "1.5", "99999999999999999999"] {
        let (circuit, mut service, mut handle) = spawn(policy());
        handle.allow(1);
        let response = with_trailers(&[("grpc-status", "8"), ("grpc-retry-pushback-ms", value)]);
        exchange(&mut service, &mut handle, response).await;
        assert_eq!(circuit.status().state, CircuitState::Closed, "{value:?}");
    }
}

async fn plain(status: u16, retry_after: &str) -> Circuit {
    let (circuit, mut service, mut handle) = spawn(policy());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    let mut call = task::spawn(service.call(Request::new(())));
    assert_pending!(call.poll());
    let (_, reply) = handle.next_request().await.unwrap();
    let response = Response::builder()
        .status(status)
        .header("retry-after", retry_after)
        .body(Frames::default())
        .unwrap();
    reply.send_response(response);
    drop(assert_ready_ok!(call.poll()));
    circuit
}

#[tokio::test(start_paused = true)]
async fn retry_after_counts_with_429_and_503_and_in_seconds() {
    for status in [429, 503] {
        let until = plain(status, "7").await.status().open_until;
        assert_eq!(until, Some(Instant::now() + Duration::from_secs(7)), "{status}");
    }
    for (status, retry_after) in [
        (500, "7"),
        (200, "7"),
        (503, "Fri, 31 Dec 1999 23:59:59 GMT"),
        (429, "-7"),
        (429, "0"),
    ] {
        let circuit = plain(status, retry_after).await;
        assert_eq!(
            circuit.status().state,
            CircuitState::Closed,
            "{status} {retry_after}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_counts_where_a_proxy_answers_a_call_of_grpc() {
    let (circuit, mut service, mut handle) = spawn(policy());
    handle.allow(1);
    let mut response = Response::new(Frames::default());
    *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert("retry-after", "3".parse().unwrap());
    exchange(&mut service, &mut handle, response).await;
    let time = Duration::from_secs(3);
    assert_eq!(circuit.status().opened_by, Some(OpenedBy::Pushback { time }));
}

fn with_rules(classification: Classification) -> (Circuit, impl FnMut(&str, &str)) {
    let circuit = Circuit::new(
        "test",
        Policy {
            consecutive_failures: u32::MAX,
            ..policy()
        },
    );
    let layer = BreakerLayer::new(circuit.clone()).classification(classification);
    let (mut service, mut handle): (_, Handle) = mock::spawn_with(move |inner: Mock| layer.layer(inner));
    let call = move |path: &str, code: &str| {
        handle.allow(1);
        assert_ready_ok!(service.poll_ready());
        let request = Request::builder()
            .uri(path)
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let mut call = task::spawn(service.call(request));
        assert_pending!(call.poll());
        let std::task::Poll::Ready(Some((_, reply))) = handle.poll_request() else {
            panic!("expected the call to be sent");
        };
        reply.send_response(grpc_response([trailers(code)]));
        let mut body = Box::pin(assert_ready_ok!(call.poll()).into_body());
        let mut read = task::spawn(std::future::poll_fn(move |cx| {
            http_body::Body::poll_frame(body.as_mut(), cx)
        }));
        assert!(read.poll().is_ready());
    };
    (circuit, call)
}

#[tokio::test(start_paused = true)]
async fn a_rule_changes_what_a_code_says_for_its_method_alone() {
    let rules = Classification::default().method("/shop.Stock/Count", Code::NotFound, Outcome::Failure);
    let (circuit, mut call) = with_rules(rules);
    call("/shop.Stock/Count", "5");
    assert_eq!(circuit.failures(), 1);
    call("/shop.Stock/Find", "5");
    assert_eq!(circuit.failures(), 0, "there it is a success");
}

#[tokio::test(start_paused = true)]
async fn a_rule_for_all_methods_gives_way_to_one_of_a_method() {
    let rules = Classification::default()
        .code(Code::Unavailable, Outcome::Ignored)
        .method("/shop.Stock/Count", Code::Unavailable, Outcome::Failure);
    let (circuit, mut call) = with_rules(rules);
    call("/shop.Stock/Find", "14");
    assert_eq!(circuit.failures(), 0);
    call("/shop.Stock/Count", "14");
    call("/shop.Stock/Count", "13");
    assert_eq!(circuit.failures(), 2);
}

#[tokio::test(start_paused = true)]
async fn no_rule_makes_our_own_refusals_evidence() {
    let circuit = Circuit::new("test", policy());
    let rules = Classification::default().code(Code::Unavailable, Outcome::Failure);
    let outer = Circuit::new("outer", policy());
    let inner_layer = BreakerLayer::new(circuit.clone());
    let layer = BreakerLayer::new(outer.clone()).classification(rules);
    circuit.force_open("game day");
    let (service, _handle): (_, Handle) =
        mock::spawn_with(move |inner: Mock| layer.layer(inner_layer.layer(inner)));
    let mut service = service.into_inner();
    for _ in 0..10 {
        std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
        let request = Request::builder().header("content-type", "application/grpc");
        assert!(service.call(request.body(()).unwrap()).await.is_err());
    }
    assert_eq!(outer.status().state, CircuitState::Closed);
}
