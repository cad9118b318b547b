//! Times of calls: how they are written, read and kept.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use proptest::prelude::*;

use super::*;

fn headers(timeout: &str) -> HeaderMap {
    HeaderMap::from_iter([(GRPC_TIMEOUT, timeout.parse().unwrap())])
}

fn in_(time: Duration) -> Deadline {
    Deadline::new(time, &HeaderMap::new(), Instant::now())
}

#[test]
fn timeouts_are_read_in_every_unit() {
    for (text, time) in [
        ("1H", Duration::from_secs(3600)),
        ("2M", Duration::from_secs(120)),
        ("3S", Duration::from_secs(3)),
        ("4m", Duration::from_millis(4)),
        ("5u", Duration::from_micros(5)),
        ("6n", Duration::from_nanos(6)),
        ("99999999H", Duration::from_secs(99_999_999 * 3600)),
    ] {
        assert_eq!(parse(text), Some(time), "{text}");
    }
}

#[test]
fn what_is_no_timeout_is_none() {
    for text in [
        "",
        "S",
        "1",
        "1s",
        "-1S",
        "1.5S",
        "123456789S",
        "+1S",
        " 1S",
        "1€",
    ] {
        assert_eq!(parse(text), None, "{text:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_shorter_of_the_two_deadlines_prevails() {
    let now = Instant::now();
    let limit = Duration::from_secs(30);
    let shorter = Deadline::new(limit, &headers("200m"), now);
    assert_eq!(
        (shorter.allowed, shorter.short),
        (Duration::from_millis(200), true)
    );
    let longer = Deadline::new(limit, &headers("1H"), now);
    assert_eq!((longer.allowed, longer.short), (limit, false));
    let none = Deadline::new(limit, &HeaderMap::new(), now);
    assert_eq!((none.allowed, none.short), (limit, false));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_passed_on() {
    let deadline = in_(Duration::from_secs(2));
    tokio::time::advance(Duration::from_millis(500)).await;
    let mut passed_on = headers("1H");
    deadline.pass_on(&mut passed_on);
    assert_eq!(passed_on.get(GRPC_TIMEOUT).unwrap(), "1500m");
    tokio::time::advance(Duration::from_secs(5)).await;
    deadline.pass_on(&mut passed_on);
    assert_eq!(passed_on.get(GRPC_TIMEOUT).unwrap(), "0m");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_ends_with_the_deadline() {
    let stalled = StreamBody::new(futures_stalled());
    let mut body = std::pin::pin!(TimedBody::new(stalled, in_(Duration::from_secs(3))));
    let before = Instant::now();
    let frame = body.as_mut().frame().await.unwrap();
    assert!(matches!(frame, Err(TimedError::DeadlinePassed)));
    assert_eq!(before.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_always_has_more_ends_with_the_deadline() {
    let endless = StreamBody::new(tokio_stream::iter(std::iter::repeat_with(|| {
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"more")))
    })));
    let mut body = std::pin::pin!(TimedBody::new(endless, in_(Duration::from_secs(1))));
    assert!(body.as_mut().frame().await.unwrap().is_ok());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(matches!(
        body.as_mut().frame().await.unwrap(),
        Err(TimedError::DeadlinePassed)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_body_in_time_passes_unchanged() {
    let face = Full::new(Bytes::from_static(b"face"));
    let mut body = std::pin::pin!(TimedBody::new(face, in_(Duration::from_secs(1))));
    assert_eq!(body.size_hint().exact(), Some(4));
    let frame = body
        .as_mut()
        .frame()
        .await
        .unwrap()
        .unwrap_or_else(|_| panic!("in time"));
    assert_eq!(frame.into_data().unwrap(), "face");
    assert!(body.as_mut().frame().await.is_none());
    assert!(TimedBody::new(Empty::<Bytes>::new(), in_(Duration::from_secs(1))).is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_by_the_server_is_our_deadline_once_that_has_passed() {
    let deadline = in_(Duration::from_secs(1));
    let cancelled = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("1"))]);
    let internal = HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("13"))]);
    assert!(!deadline.explains(&cancelled));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(deadline.explains(&cancelled));
    assert!(!deadline.explains(&internal));
    assert!(!deadline.explains(&HeaderMap::new()));
}

fn futures_stalled() -> impl tokio_stream::Stream<Item = Result<Frame<Bytes>, Infallible>> + Unpin {
    tokio_stream::pending()
}

proptest! {
    #[test]
    fn a_timeout_that_is_written_is_read_as_no_less_and_hardly_more(nanos in 0_u64..99_999_998_000_000_000) {
        let time = Duration::from_nanos(nanos);
        let read = parse(&format(time)).unwrap();
        prop_assert!(read >= time);
        let slack = if time < Duration::from_secs(99_999) { Duration::from_millis(1) } else { Duration::from_secs(1) };
        prop_assert!(read - time <= slack);
    }

    #[test]
    fn no_header_makes_reading_it_panic(text in "\\PC{0,12}") {
        parse(&text);
    }
}
