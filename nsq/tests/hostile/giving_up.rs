//! Giving up after so many polls.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::future::poll_fn;

/// Nothing here needs so many polls, unless it hangs.
pub(crate) const MOST: usize = 2000;

/// Runs this on a runtime that polls one other task between two of its polls, so that it can give up at every
/// point. tokio's own default is up to 61, which would be over before anybody had looked. Time is paused.
pub(crate) fn step_by_step(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .event_interval(1)
        .build()
        .unwrap()
        .block_on(future);
}

/// Polls so often, letting others run in between, and gives up. `None` if it was given up.
pub(crate) async fn polled<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    polled_between(future, times, tokio::task::yield_now).await
}

/// As [`polled`], and with each poll a millisecond passes.
pub(crate) async fn polled_in_time<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    polled_between(future, times, || tokio::time::advance(Duration::from_millis(1))).await
}

async fn polled_between<T, F: Future<Output = ()>>(
    future: impl Future<Output = T>,
    times: usize,
    between: impl Fn() -> F,
) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..times {
        let polled = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        between().await;
    }
    None
}
