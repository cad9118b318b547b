//! The breaker keeps to tower's contract; and layers that do not are found out.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use safelight_mesh::BoxError;
use safelight_mesh::breaker::{BreakerLayer, Circuit, Policy};
use tonic::body::Body;
use tower::layer::layer_fn;
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, Service};

use crate::contract::{Bounds, Probe, uphold};

#[tokio::test(start_paused = true)]
async fn the_breaker_keeps_to_the_contract() {
    let make = || BreakerLayer::new(Circuit::new("test", Policy::default()));
    uphold(make, Bounds::default()).await;
}

#[tokio::test(start_paused = true)]
async fn a_forced_closed_breaker_keeps_to_the_contract_too() {
    let make = || {
        let circuit = Circuit::new("test", Policy::default());
        circuit.force_closed();
        BreakerLayer::new(circuit)
    };
    uphold(make, Bounds::default()).await;
}

/// What a broken layer does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// Calls a fresh clone and leaves the readied service behind.
    CallsAClone,
    /// Wakes itself and waits.
    Spins,
    /// Says that it is ready when it is not.
    HidesErrors,
    /// Lets a call run on that nobody waits for.
    Detaches,
    /// Sends every call twice.
    SendsTwice,
}

#[derive(Clone)]
struct Faulty {
    inner: Probe,
    fault: Fault,
}

fn faulty(fault: Fault) -> impl Layer<Probe, Service = Faulty> {
    layer_fn(move |inner| Faulty { inner, fault })
}

impl Service<Request<Body>> for Faulty {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self.inner.poll_ready(cx) {
            Poll::Pending if self.fault == Fault::Spins => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Poll::Ready(Err(_)) if self.fault == Fault::HidesErrors => Poll::Ready(Ok(())),
            other => other,
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.fault {
            Fault::CallsAClone => self.inner.clone().call(request),
            Fault::Spins | Fault::HidesErrors => self.inner.call(request),
            Fault::Detaches => {
                let answer = tokio::spawn(self.inner.call(request));
                Box::pin(async move {
                    tokio::task::yield_now().await;
                    answer.await?
                })
            }
            Fault::SendsTwice => {
                let first = self.inner.call(Request::new(Body::empty()));
                let mut again = self.inner.clone();
                Box::pin(async move {
                    first.await?;
                    poll_fn(|cx| again.poll_ready(cx)).await?;
                    again.call(request).await
                })
            }
        }
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "clause: nothing is called without having been ready")]
async fn a_layer_that_calls_a_clone_fails_the_contract() {
    uphold(|| faulty(Fault::CallsAClone), Bounds::default()).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "clause: no spinning")]
async fn a_layer_that_spins_fails_the_contract() {
    uphold(|| faulty(Fault::Spins), Bounds::default()).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "clause: ")]
async fn a_layer_that_hides_errors_fails_the_contract() {
    uphold(|| faulty(Fault::HidesErrors), Bounds::default()).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "clause: a call that nobody waits for ends")]
async fn a_layer_that_detaches_its_calls_fails_the_contract() {
    uphold(|| faulty(Fault::Detaches), Bounds::default()).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "clause: every call is sent, and not too often")]
async fn a_layer_that_sends_every_call_twice_fails_the_contract() {
    uphold(|| faulty(Fault::SendsTwice), Bounds::default()).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "clause: calls do not wait for each other")]
async fn a_layer_that_lets_fewer_calls_in_than_it_says_fails_the_contract() {
    uphold(|| ConcurrencyLimitLayer::new(4), Bounds::default()).await;
}
