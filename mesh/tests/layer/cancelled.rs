//! A call that is dropped at any of its awaits neither wedges a circuit nor closes or opens it wrongly.

use std::time::Duration;

use http_body::Body;
use http_body_util::BodyExt;
use safelight_mesh::breaker::{Circuit, CircuitState};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower_test::mock;

use crate::scripted::{
    Breaking, Handle, data, exchange, fail, grpc_request, grpc_response, open, policy, spawn, trailers,
};

/// Where a call is dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    BeforeReady,
    BeforeCall,
    BeforePoll,
    BeforeHeaders,
    BeforeBody,
    InBody,
    AfterTrailers,
}

const EVERYWHERE: [At; 7] = [
    At::BeforeReady,
    At::BeforeCall,
    At::BeforePoll,
    At::BeforeHeaders,
    At::BeforeBody,
    At::InBody,
    At::AfterTrailers,
];

/// Makes a call that would end with this status, and drops it there.
async fn drop_call(service: &mut mock::Spawn<Breaking>, handle: &mut Handle, at: At, code: &str) {
    if at == At::BeforeReady {
        handle.allow(0);
        let mut clone = service.clone();
        assert_pending!(clone.poll_ready());
        return;
    }
    handle.allow(1);
    let mut clone = service.clone();
    assert_ready_ok!(clone.poll_ready());
    if at == At::BeforeCall {
        return;
    }
    let mut call = task::spawn(clone.call(grpc_request()));
    if at == At::BeforePoll {
        return;
    }
    assert_pending!(call.poll());
    if at == At::BeforeHeaders {
        return;
    }
    let (_, reply) = handle.next_request().await.unwrap();
    reply.send_response(grpc_response([data(), trailers(code)]));
    let mut body = assert_ready_ok!(call.poll()).into_body();
    if at == At::BeforeBody {
        return;
    }
    assert!(body.frame().await.unwrap().unwrap().is_data());
    if at == At::InBody {
        return;
    }
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert!(body.is_end_stream());
}

/// Whatever came before, two failures open it and a success after the break closes it.
async fn assert_works(circuit: &Circuit, service: &mut mock::Spawn<Breaking>, handle: &mut Handle, at: At) {
    // Calls that were dropped before anybody saw them.
    while let std::task::Poll::Ready(Some(_)) = handle.poll_request() {}
    handle.allow(3);
    exchange(service, handle, grpc_response([trailers("0")])).await;
    assert_eq!(circuit.status().state, CircuitState::Closed, "{at:?}");
    fail(service, handle).await;
    fail(service, handle).await;
    assert_eq!(circuit.status().state, CircuitState::Open, "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_in_a_closed_circuit_neither_counts_nor_clears() {
    for at in EVERYWHERE {
        for code in ["0", "14"] {
            let (circuit, mut service, mut handle) = spawn(policy());
            handle.allow(1);
            fail(&mut service, &mut handle).await;
            for _ in 0..5 {
                if at != At::AfterTrailers {
                    drop_call(&mut service, &mut handle, at, code).await;
                    while let std::task::Poll::Ready(Some(_)) = handle.poll_request() {}
                    assert_eq!(circuit.failures(), 1, "{at:?}");
                }
            }
            assert_works(&circuit, &mut service, &mut handle, at).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_dropped_anywhere_before_its_verdict_gives_its_slot_back() {
    for at in EVERYWHERE {
        let (circuit, mut service, mut handle) = open().await;
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..5 {
            if at != At::AfterTrailers {
                drop_call(&mut service, &mut handle, at, "0").await;
                while let std::task::Poll::Ready(Some(_)) = handle.poll_request() {}
                assert_ne!(circuit.status().state, CircuitState::Closed, "{at:?}");
            }
        }
        assert_works(&circuit, &mut service, &mut handle, at).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_dropped_after_its_trailers_has_decided() {
    for (code, state) in [("0", CircuitState::Closed), ("14", CircuitState::Open)] {
        let (circuit, mut service, mut handle) = open().await;
        tokio::time::advance(Duration::from_secs(1)).await;
        drop_call(&mut service, &mut handle, At::AfterTrailers, code).await;
        assert_eq!(circuit.status().state, state);
    }
}
