#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};

use super::super::method::Methods;
use super::*;

type Item = Result<Frame<Bytes>, Status>;

/// Knows whether it was dropped.
struct Held(Arc<()>);

fn data() -> Item {
    Ok(Frame::data(Bytes::from_static(b"data")))
}

fn well() -> Item {
    let mut trailers = HeaderMap::new();
    Status::ok("").add_header(&mut trailers).unwrap();
    Ok(Frame::trailers(trailers))
}

fn around(allowed: Option<Duration>) -> Surroundings {
    Surroundings {
        deadline: allowed.map(|allowed| Instant::now() + allowed),
        trace: trace::Context::root(),
        span: Span::none(),
    }
}

fn answer(frames: impl futures::Stream<Item = Item> + Send + 'static, around: Surroundings) -> Body {
    let methods = Methods::new(&[], &[]).unwrap();
    let call = Call::new(methods.of_path("/").clone(), trace::CallSpan::default());
    let response = Response::new(Body::new(StreamBody::new(frames)));
    watched(response, call, around).into_body()
}

/// The bytes of data that came, and the code in the trailers.
async fn read(mut body: Body) -> (usize, Option<Code>) {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        match frame.unwrap().into_data() {
            Ok(data) => bytes += data.len(),
            Err(trailers) => {
                let code = code_in(trailers.trailers_ref().unwrap());
                assert!(body.is_end_stream() && body.frame().await.is_none());
                return (bytes, code);
            }
        }
    }
    (bytes, None)
}

#[tokio::test]
async fn a_stream_goes_through_as_it_is() {
    let body = answer(stream::iter([data(), data(), well()]), around(None));
    assert_eq!(read(body).await, (8, Some(Code::Ok)));
}

#[tokio::test]
async fn a_panic_in_a_stream_ends_it_with_internal_and_drops_it() {
    let held = Held(Arc::new(()));
    let alive = Arc::downgrade(&held.0);
    let panics = stream::once(async { data() }).chain(stream::once(async move {
        let _held = held;
        panic!("out of film")
    }));
    let body = answer(panics, around(None));
    assert_eq!(read(body).await, (4, Some(Code::Internal)));
    assert_eq!(alive.strong_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stalls_ends_at_its_deadline_and_is_dropped() {
    let held = Held(Arc::new(()));
    let alive = Arc::downgrade(&held.0);
    let stalls = stream::once(async { data() }).chain(stream::once(async move {
        let _held = held;
        std::future::pending().await
    }));
    let began = Instant::now();
    let body = answer(stalls, around(Some(Duration::from_millis(300))));
    assert_eq!(read(body).await, (4, Some(Code::DeadlineExceeded)));
    assert_eq!(began.elapsed().as_millis(), 300);
    assert_eq!(alive.strong_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_always_has_more_ends_at_its_deadline() {
    let endless = stream::repeat_with(data).then(|item| async {
        tokio::time::advance(Duration::from_millis(100)).await;
        item
    });
    let body = answer(endless, around(Some(Duration::from_millis(350))));
    assert_eq!(read(body).await, (12, Some(Code::DeadlineExceeded)));
}

#[tokio::test]
async fn a_stream_runs_within_the_time_and_the_trace_of_its_call() {
    let around = around(Some(Duration::from_secs(60)));
    let (at, trace) = (around.deadline, around.trace.clone());
    let looks = stream::once(async move {
        assert_eq!(deadline::current(), at);
        assert_eq!(trace::Context::current(), Some(trace));
        well()
    });
    assert_eq!(read(answer(looks, around)).await, (0, Some(Code::Ok)));
}

#[tokio::test]
async fn a_stream_that_panics_as_it_is_dropped_does_no_harm() {
    struct Grenade;
    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("once more");
        }
    }
    let grenade = Grenade;
    let stalls = stream::once(async move {
        let _grenade = grenade;
        std::future::pending().await
    });
    let body = answer(stalls, around(Some(Duration::from_millis(1))));
    assert_eq!(read(body).await, (0, Some(Code::DeadlineExceeded)));
}
