//! What tower asks of every layer, as a suite that any layer can be put through.
//!
//! [`uphold`] drives a layer around a [`Probe`]: a service that is ready for one call after a `poll_ready`, whose
//! clones are not ready, and that panics if it is called unready. It counts what is done to it. A layer that
//! breaks a clause makes `uphold` panic, with the clause in the message.
//!
//! Other test files take it in by `#[path]`.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use safelight_mesh::BoxError;
use tokio::sync::Notify;
use tokio_test::{assert_pending, task};
use tonic::body::Body;
use tower::{Layer, Service};

/// The service at the bottom.
#[derive(Debug)]
pub(crate) struct Probe {
    ready: bool,
    seen: Arc<Seen>,
}

/// What was done to a probe and its clones, and how they behave.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) clones: AtomicUsize,
    pub(crate) ready_polls: AtomicUsize,
    pub(crate) calls: AtomicUsize,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) peak_in_flight: AtomicUsize,
    pub(crate) cancelled: AtomicUsize,
    /// `poll_ready` is pending.
    busy: AtomicBool,
    /// `poll_ready` fails.
    broken: AtomicBool,
    /// Answers wait for `release`.
    held: AtomicBool,
    release: Notify,
    wakers: Mutex<Vec<Waker>>,
}

/// A call under way; dropped before its answer it counts as cancelled.
struct InFlight {
    seen: Arc<Seen>,
    answered: bool,
}

/// What differs between layers that all keep to the contract.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How many calls the layer lets be in flight at once, at least.
    pub(crate) in_flight: usize,
    /// How often the layer may send one call to the probe, at most; more than 1 only for one that tries again.
    pub(crate) tries: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            in_flight: 16,
            tries: 1,
        }
    }
}

/// Puts a layer through the whole contract. Needs tokio's paused time.
///
/// # Panics
/// With the clause that the layer breaks.
pub(crate) async fn uphold<L, S, B>(make: impl Fn() -> L, bounds: Bounds)
where
    L: Layer<Probe, Service = S>,
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
{
    let fresh = || {
        let seen = Arc::new(Seen::default());
        let probe = Probe {
            ready: false,
            seen: seen.clone(),
        };
        (make().layer(probe), seen)
    };
    nothing_is_called_unready(fresh(), bounds).await;
    waiting_is_passed_on_without_spinning(fresh()).await;
    errors_of_readiness_are_passed_on(fresh()).await;
    a_dropped_call_is_cancelled(fresh()).await;
    calls_run_beside_each_other(fresh(), bounds).await;
    readiness_that_is_not_used_is_given_back(fresh(), bounds).await;
}

async fn call<S, B>(service: &mut S) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
    service.call(request()).await.map_err(Into::into)
}

fn request() -> Request<Body> {
    Request::builder()
        .uri("/contract.Probe/Call")
        .header("content-type", "application/grpc")
        .body(Body::empty())
        .unwrap()
}

async fn nothing_is_called_unready<S, B>((mut service, seen): (S, Arc<Seen>), bounds: Bounds)
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
{
    let steps = 60;
    for step in 0..steps {
        let mut clone = service.clone();
        // Made after readiness, too: it must not take it along, nor take it away.
        poll_fn(|cx| service.poll_ready(cx))
            .await
            .map_err(Into::into)
            .unwrap();
        if step % 2 == 0 {
            clone = service.clone();
        }
        if step % 3 == 0 {
            // Asked more than once before the call.
            poll_fn(|cx| service.poll_ready(cx))
                .await
                .map_err(Into::into)
                .unwrap();
        }
        let first = service.call(request());
        let second = call(&mut clone).await;
        assert!(
            first.await.is_ok() && second.is_ok(),
            "clause: a call of a well service succeeds"
        );
    }
    let calls = seen.calls.load(Ordering::SeqCst);
    assert!(
        (2 * steps..=2 * steps * bounds.tries).contains(&calls),
        "clause: every call is sent, and not too often: {calls} for {}",
        2 * steps
    );
    assert_eq!(
        seen.cancelled.load(Ordering::SeqCst),
        0,
        "clause: a call that somebody waits for runs to its end"
    );
}

async fn waiting_is_passed_on_without_spinning<S, B>((service, seen): (S, Arc<Seen>))
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
{
    seen.busy.store(true, Ordering::SeqCst);
    let mut service = service;
    let mut waiting = task::spawn(async move { call(&mut service).await.map(drop) });
    let mut polls = 0;
    assert_pending!(waiting.poll());
    // As a runtime would: as long as the task is woken, it is polled.
    for _ in 0..100 {
        tokio::time::advance(std::time::Duration::from_millis(1)).await;
        if waiting.is_woken() {
            polls += 1;
            assert_pending!(waiting.poll(), "clause: not ready before the inner service is");
        }
    }
    assert!(
        polls <= 3,
        "clause: no spinning, but {polls} polls while nothing changed"
    );
    seen.busy.store(false, Ordering::SeqCst);
    seen.wakers.lock().unwrap().drain(..).for_each(Waker::wake);
    assert!(waiting.is_woken(), "clause: who waits is woken");
    assert!(waiting.await.is_ok(), "clause: who was woken is served");
}

async fn errors_of_readiness_are_passed_on<S, B>((mut service, seen): (S, Arc<Seen>))
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    seen.broken.store(true, Ordering::SeqCst);
    assert!(
        call(&mut service).await.is_err(),
        "clause: an inner service that fails to get ready is an error"
    );
    assert_eq!(
        seen.calls.load(Ordering::SeqCst),
        0,
        "clause: a broken service is not called"
    );
}

async fn a_dropped_call_is_cancelled<S, B>((mut service, seen): (S, Arc<Seen>))
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    seen.held.store(true, Ordering::SeqCst);
    for cancelled in 1..=20 {
        let mut under_way = task::spawn(async { call(&mut service).await.map(drop) });
        assert_pending!(under_way.poll());
        assert_eq!(
            seen.in_flight.load(Ordering::SeqCst),
            1,
            "clause: a polled call is sent"
        );
        drop(under_way);
        assert_eq!(
            seen.cancelled.load(Ordering::SeqCst),
            cancelled,
            "clause: a call that nobody waits for ends"
        );
    }
    seen.held.store(false, Ordering::SeqCst);
    assert!(
        call(&mut service).await.is_ok(),
        "clause: after cancelled calls, others go on"
    );
}

async fn calls_run_beside_each_other<S, B>((service, seen): (S, Arc<Seen>), bounds: Bounds)
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
{
    seen.held.store(true, Ordering::SeqCst);
    let one = |mut service: S| async move { call(&mut service).await.map(drop) };
    let mut calls: Vec<_> = (0..bounds.in_flight)
        .map(|_| task::spawn(one(service.clone())))
        .collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    assert_eq!(
        seen.peak_in_flight.load(Ordering::SeqCst),
        bounds.in_flight,
        "clause: calls do not wait for each other"
    );
    seen.held.store(false, Ordering::SeqCst);
    seen.release.notify_waiters();
    for call in calls {
        assert!(call.await.is_ok(), "clause: each of many calls is answered");
    }
    assert_eq!(seen.in_flight.load(Ordering::SeqCst), 0);
}

async fn readiness_that_is_not_used_is_given_back<S, B>((service, seen): (S, Arc<Seen>), bounds: Bounds)
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
{
    for _ in 0..10 * bounds.in_flight {
        let mut readied = service.clone();
        let ready = task::spawn(poll_fn(|cx| readied.poll_ready(cx))).poll();
        assert!(
            ready.is_ready(),
            "clause: readiness that is dropped is free for others"
        );
    }
    assert!(call(&mut service.clone()).await.is_ok());
    assert!(seen.ready_polls.load(Ordering::SeqCst) > 0);
}

// === impl Probe ===

impl Clone for Probe {
    fn clone(&self) -> Self {
        self.seen.clones.fetch_add(1, Ordering::SeqCst);
        Self {
            ready: false,
            seen: self.seen.clone(),
        }
    }
}

impl Service<Request<Body>> for Probe {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.seen.ready_polls.fetch_add(1, Ordering::SeqCst);
        if self.seen.broken.load(Ordering::SeqCst) {
            return Poll::Ready(Err("the probe is broken".into()));
        }
        if self.seen.busy.load(Ordering::SeqCst) {
            self.seen.wakers.lock().unwrap().push(cx.waker().clone());
            return Poll::Pending;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<Body>) -> Self::Future {
        assert!(
            std::mem::take(&mut self.ready),
            "clause: nothing is called without having been ready"
        );
        let seen = &self.seen;
        seen.calls.fetch_add(1, Ordering::SeqCst);
        let in_flight = seen.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        seen.peak_in_flight.fetch_max(in_flight, Ordering::SeqCst);
        let in_flight = InFlight {
            seen: seen.clone(),
            answered: false,
        };
        Box::pin(async move {
            let mut in_flight = in_flight;
            if in_flight.seen.held.load(Ordering::SeqCst) {
                in_flight.seen.release.notified().await;
            }
            in_flight.is_answered();
            let response = Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "0");
            Ok(response.body(Body::empty())?)
        })
    }
}

// === impl InFlight ===

impl InFlight {
    fn is_answered(&mut self) {
        self.answered = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.seen.in_flight.fetch_sub(1, Ordering::SeqCst);
        if !self.answered {
            self.seen.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}
