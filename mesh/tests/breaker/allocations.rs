//! What the closed path costs in memory: nothing.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use safelight_mesh::breaker::{BreakerLayer, Circuit, Outcome, Policy, Rate, SlowCalls, Span};
use tokio::time::Instant;
use tower::{Layer, Service};

struct Counting;

thread_local! {
    // Constant and without a destructor, so that reading it allocates nothing.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator unchanged; the count beside it touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps to the contract of `alloc`, which is the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the memory came from `alloc` above, so from the system.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_call_through_a_closed_circuit_allocates_nothing() {
    let circuit = Circuit::new("test", Policy::default());
    let count = allocations(|| {
        for _ in 0..1_000 {
            circuit.admit().unwrap().end(Outcome::Success, None);
            circuit.enter().unwrap().end(Outcome::Success, Some("fine"));
            circuit
                .admit_at(Instant::now())
                .unwrap()
                .end(Outcome::Overload, None);
            drop(circuit.admit().unwrap());
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn failures_and_windows_allocate_nothing_either_as_long_as_the_circuit_stays_closed() {
    let rate = Rate {
        threshold: 0.9,
        minimum_calls: 10,
        over: Span::Time(Duration::from_secs(10)),
    };
    let policy = Policy {
        failure_rate: Some(rate),
        slow_calls: Some(SlowCalls {
            slower_than: Duration::from_secs(1),
            rate,
        }),
        ..Policy::default()
    };
    let circuit = Circuit::new("test", policy);
    let count = allocations(|| {
        for _ in 0..1_000 {
            circuit.admit().unwrap().end(Outcome::Failure, Some("a reason"));
            circuit.admit().unwrap().end(Outcome::Success, None);
        }
    });
    assert_eq!(count, 0);
}

#[tokio::test]
async fn the_layer_allocates_nothing_around_a_call_that_goes_well() {
    let answers = tower::service_fn(|_: Request<()>| {
        let body: Empty<Bytes> = Empty::new();
        std::future::ready(Ok::<_, Infallible>(Response::new(body)))
    });
    let circuit = Circuit::new("test", Policy::default());
    let mut service = BreakerLayer::new(circuit).layer(answers);
    let before = ALLOCATIONS.get();
    for _ in 0..1_000 {
        let mut clone = service.clone();
        for service in [&mut service, &mut clone] {
            std::future::poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
            drop(service.call(Request::new(())).await.unwrap());
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
