//! The time that a call has, and its `grpc-timeout`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use crate::grpc::{Code, Status};

/// The header by which gRPC passes a deadline on.
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The time that a call has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) allowed: Duration,
    /// The caller allowed less than the target's own deadline.
    pub(crate) short: bool,
}

/// The time that a request's `grpc-timeout` allows; `None` without one, or with one that cannot be read.
pub(crate) fn of_headers(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(GRPC_TIMEOUT)?.to_str().ok()?)
}

/// Shortens the time that a request's caller allows to what is left of the call that the present task serves, if it
/// serves one.
pub(crate) fn inherit(headers: &mut HeaderMap) {
    let Some(left) = crate::server::deadline::remaining() else {
        return;
    };
    if of_headers(headers).is_none_or(|asked| left < asked)
        && let Ok(value) = HeaderValue::try_from(format(left))
    {
        headers.insert(GRPC_TIMEOUT, value);
    }
}

/// At most 8 digits and a unit, as the gRPC protocol over HTTP/2 has it.
fn parse(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 60 * 60)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Rounded up, so that a server never gives up before its caller does.
fn format(time: Duration) -> String {
    const LARGEST: u128 = 99_999_999;
    let millis = time.as_nanos().div_ceil(1_000_000);
    if millis <= LARGEST {
        return format!("{millis}m");
    }
    format!("{}S", millis.div_ceil(1_000).min(LARGEST))
}

// === impl Deadline ===

impl Deadline {
    /// The shorter of the target's own `limit` and what the request allows.
    pub(crate) fn new(limit: Duration, headers: &HeaderMap, now: Instant) -> Self {
        let asked = of_headers(headers).unwrap_or(limit);
        let allowed = limit.min(asked);
        Self {
            at: now + allowed,
            allowed,
            short: asked < limit,
        }
    }

    pub(crate) fn has_passed(&self) -> bool {
        Instant::now() >= self.at
    }

    /// Writes what is left into the request.
    pub(crate) fn pass_on(&self, headers: &mut HeaderMap) {
        let left = self.at.saturating_duration_since(Instant::now());
        // Digits and a letter are always a header's value.
        if let Ok(value) = HeaderValue::try_from(format(left)) {
            headers.insert(GRPC_TIMEOUT, value);
        }
    }

    /// Whether this status of the server is our own deadline coming back: servers keep to the `grpc-timeout` they
    /// were given, and tonic's call it `CANCELLED`.
    pub(crate) fn explains(&self, headers: &HeaderMap) -> bool {
        let Some(code) = headers.get(Status::GRPC_STATUS) else {
            return false;
        };
        let code = Code::from_bytes(code.as_bytes());
        matches!(code, Code::Cancelled | Code::DeadlineExceeded) && self.has_passed()
    }
}

/// How a timed body ends before its time.
#[derive(Debug)]
pub(crate) enum TimedError<E> {
    DeadlinePassed,
    Inner(E),
}

pin_project! {
    /// A response's body that ends with an error when the call's time is up.
    #[derive(Debug)]
    pub(crate) struct TimedBody<B> {
        #[pin]
        inner: B,
        deadline: Deadline,
        #[pin]
        sleep: Sleep,
    }
}

// === impl TimedBody ===

impl<B> TimedBody<B> {
    pub(crate) fn new(inner: B, deadline: Deadline) -> Self {
        Self {
            inner,
            deadline,
            sleep: tokio::time::sleep_until(deadline.at),
        }
    }
}

impl<B: Body> Body for TimedBody<B> {
    type Data = B::Data;
    type Error = TimedError<B::Error>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let passed = Poll::Ready(Some(Err(TimedError::DeadlinePassed)));
        match this.inner.poll_frame(cx) {
            Poll::Pending if this.sleep.poll(cx).is_ready() => passed,
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(frame))) => match frame.trailers_ref() {
                Some(trailers) if this.deadline.explains(trailers) => passed,
                Some(_) => Poll::Ready(Some(Ok(frame))),
                // A stream that always has more must end, too.
                None if this.deadline.has_passed() => passed,
                None => Poll::Ready(Some(Ok(frame))),
            },
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(TimedError::Inner(error)))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
#[path = "deadline_tests.rs"]
mod tests;
