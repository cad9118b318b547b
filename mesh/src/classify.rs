//! What the end of a call says about the service. The one place that judges; the table is in [`crate::breaker`].

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Request, Response, StatusCode};

use crate::breaker::{Classification, Codes, Outcome};
use crate::deadline;
use crate::error::{CallError, chain, find, was_not_processed};
use crate::grpc::{Code, Status};

/// An outcome and the reason for it.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) why: Cow<'static, str>,
    /// For how long the server asks to be left alone.
    pub(crate) pushback: Option<Duration>,
}

/// Judges calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classifier {
    /// What a call is given where its caller does not say otherwise.
    pub(crate) usual_deadline: Option<Duration>,
    /// Where the table is changed.
    pub(crate) classification: Classification,
}

/// What a request lets us expect of its response.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    grpc: bool,
    table: Table,
}

/// What codes say about a call of one method.
#[derive(Clone, Debug)]
struct Table {
    codes: Codes,
    /// The caller allowed less than the usual time.
    short: bool,
}

/// Judges one response as it comes in.
#[derive(Debug)]
pub(crate) struct Judge {
    expected: Expected,
    /// What the headers settled.
    early: Option<Verdict>,
}

/// What the code of a gRPC status says about the service; `short` where the caller allowed less than the usual
/// time.
pub(crate) fn code_outcome(code: Code, short: bool) -> Outcome {
    match code {
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => Outcome::Success,
        Code::Unavailable | Code::Internal | Code::Unknown | Code::DataLoss => Outcome::Failure,
        Code::DeadlineExceeded if short => Outcome::Ignored,
        Code::DeadlineExceeded => Outcome::Failure,
        Code::ResourceExhausted => Outcome::Overload,
        Code::Cancelled => Outcome::Ignored,
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Whether a response without a `grpc-status` may yet bring one.
pub(crate) fn is_grpc_answer<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::OK && is_grpc(response.headers())
}

/// What an answer that is not gRPC says about the service that was asked for gRPC.
fn not_grpc_outcome(status: StatusCode) -> Outcome {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Outcome::Success,
        StatusCode::TOO_MANY_REQUESTS => Outcome::Overload,
        _ => Outcome::Failure,
    }
}

/// The longest part of a server's message that is kept as a reason, in bytes.
const LONGEST_MESSAGE: usize = 200;

/// The beginning of a `grpc-message`, for one line of a log. The gRPC specification has it percent-encoded, and asks
/// readers to take what is not as it is.
fn readable(mut message: &[u8]) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < LONGEST_MESSAGE
        && let Some((&first, rest)) = message.split_first()
    {
        let encoded = rest
            .get(..2)
            .filter(|digits| first == b'%' && digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        message = if encoded.is_some() { &rest[2..] } else { rest };
        bytes.push(encoded.unwrap_or(first));
    }
    String::from_utf8_lossy(&bytes).replace(char::is_control, " ")
}

/// By the gRPC retry design (A6): a server says when to come back. A number that is negative or cannot be read
/// says that the call should not be made again, which is no reason to leave the server alone.
fn pushback(headers: &HeaderMap) -> Option<Duration> {
    let millis = headers.get("grpc-retry-pushback-ms")?.to_str().ok()?;
    Some(Duration::from_millis(u64::from(millis.parse::<u32>().ok()?)))
}

/// By RFC 9110, section 10.2.3, as far as it is a number of seconds. A date is not read: it would be compared with
/// a clock of ours that may go wrong.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(u64::from(
        seconds.trim().parse::<u32>().ok()?,
    )))
}

// === impl Verdict ===

impl Verdict {
    pub(crate) const fn success() -> Self {
        Self {
            outcome: Outcome::Success,
            why: Cow::Borrowed(""),
            pushback: None,
        }
    }

    pub(crate) const fn failure(why: &'static str) -> Self {
        Self {
            outcome: Outcome::Failure,
            why: Cow::Borrowed(why),
            pushback: None,
        }
    }
}

// === impl Classifier ===

impl Classifier {
    pub(crate) fn expect<B>(&self, request: &Request<B>) -> Expected {
        let allowed = deadline::of_headers(request.headers());
        let short = match (allowed, self.usual_deadline) {
            (Some(allowed), Some(usual)) => allowed < usual,
            (Some(_), None) => true,
            (None, _) => false,
        };
        Expected {
            grpc: is_grpc(request.headers()),
            table: Table {
                codes: self.classification.of(request.uri().path()),
                short,
            },
        }
    }

    /// What an error says that is no call's: an inner service did not get ready.
    pub(crate) fn of_error(&self, error: &(dyn Error + 'static)) -> Verdict {
        let table = Table {
            codes: self.classification.of(""),
            short: false,
        };
        table.error(error)
    }
}

// === impl Table ===

impl Table {
    fn code(&self, code: Code) -> Outcome {
        self.codes
            .get(code)
            .unwrap_or_else(|| code_outcome(code, self.short))
    }

    fn status(&self, headers: &HeaderMap) -> Option<Verdict> {
        let code = headers.get(Status::GRPC_STATUS)?;
        let code = Code::from_bytes(code.as_bytes());
        let outcome = self.code(code);
        if outcome == Outcome::Success {
            return Some(Verdict::success());
        }
        let message = headers
            .get(Status::GRPC_MESSAGE)
            .map(|value| value.as_bytes())
            .unwrap_or_default();
        let message = readable(message);
        Some(Verdict {
            outcome,
            why: format!("{code:?}: {message}").into(),
            pushback: pushback(headers),
        })
    }

    /// By the type of the error and not by the code of a status made from it: tonic gives `CANCELLED` to its own
    /// timeout and to a dying connection alike.
    fn error(&self, error: &(dyn Error + 'static)) -> Verdict {
        let outcome = if let Some(error) = find::<CallError>(error) {
            match error {
                CallError::CircuitOpen { .. }
                | CallError::TrialRunning { .. }
                | CallError::NoEndpoint { .. }
                | CallError::QueueFull { .. }
                | CallError::ConnectionClosed { .. } => Outcome::Ignored,
                CallError::NotConnected { .. } | CallError::Broken { .. } => Outcome::Failure,
                CallError::NotProcessed { .. } => Outcome::Overload,
                CallError::NotGrpc { status, .. } => not_grpc_outcome(*status),
                CallError::DeadlinePassed { short: true, .. } => Outcome::Ignored,
                CallError::DeadlinePassed { short: false, .. } => Outcome::Failure,
            }
        } else if find::<crate::grpc::TimeoutExpired>(error).is_some() {
            self.code(Code::DeadlineExceeded)
        } else if let Some(error) = find::<h2::Error>(error) {
            http2_outcome(error)
        } else if find::<hyper::Error>(error).is_some() {
            Outcome::Failure
        } else if let Some(status) = find::<Status>(error) {
            self.code(status.code())
        } else {
            Outcome::Failure
        };
        // Whoever makes an error of `OK` has at least not had an answer.
        let outcome = match (outcome, find::<Status>(error)) {
            (Outcome::Success, Some(status)) if status.code() == Code::Ok => Outcome::Ignored,
            (outcome, _) => outcome,
        };
        if outcome == Outcome::Success {
            return Verdict::success();
        }
        let why = match find::<CallError>(error) {
            Some(error) => error.to_string(),
            None => chain(error),
        };
        let pushback = find::<Status>(error).and_then(|status| pushback(status.metadata().as_ref()));
        Verdict {
            outcome,
            why: why.into(),
            pushback,
        }
    }
}

fn http2_outcome(error: &h2::Error) -> Outcome {
    let ours = !error.is_remote() && !error.is_library() && !error.is_io();
    match error.reason() {
        Some(h2::Reason::REFUSED_STREAM | h2::Reason::ENHANCE_YOUR_CALM) => Outcome::Overload,
        // A server that is going away in good order.
        Some(h2::Reason::NO_ERROR) if was_not_processed(error) => Outcome::Ignored,
        Some(h2::Reason::CANCEL) if ours => Outcome::Ignored,
        _ => Outcome::Failure,
    }
}

// === impl Expected ===

impl Expected {
    pub(crate) fn response<B>(&self, response: &Response<B>) -> Judge {
        let early = if self.grpc {
            self.grpc_headers(response)
        } else {
            http_headers(response)
        };
        Judge {
            expected: self.clone(),
            early,
        }
    }

    pub(crate) fn error(&self, error: &(dyn Error + 'static)) -> Verdict {
        self.table.error(error)
    }

    fn grpc_headers<B>(&self, response: &Response<B>) -> Option<Verdict> {
        // A response without a body has its status here.
        if let Some(verdict) = self.table.status(response.headers()) {
            return Some(verdict);
        }
        if is_grpc_answer(response) {
            return None;
        }
        let status = response.status();
        let outcome = not_grpc_outcome(status);
        Some(Verdict {
            outcome,
            why: format!("the answer is not gRPC but HTTP {}", status.as_u16()).into(),
            pushback: http_pushback(response),
        })
    }
}

fn http_headers<B>(response: &Response<B>) -> Option<Verdict> {
    let status = response.status();
    let outcome = if status.is_server_error() {
        Outcome::Failure
    } else if status == StatusCode::TOO_MANY_REQUESTS {
        Outcome::Overload
    } else {
        return None;
    };
    Some(Verdict {
        outcome,
        why: format!("HTTP {}", status.as_u16()).into(),
        pushback: http_pushback(response),
    })
}

/// `Retry-After` means the service as a whole with these two statuses only.
fn http_pushback<B>(response: &Response<B>) -> Option<Duration> {
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => retry_after(response.headers()),
        _ => None,
    }
}

// === impl Judge ===

impl Judge {
    /// The verdict, where the headers alone settle it; `over` where the response has nothing but headers.
    pub(crate) fn at_headers(&self, over: bool) -> Option<Verdict> {
        match (&self.early, over) {
            (Some(verdict), _) => Some(verdict.clone()),
            (None, false) => None,
            (None, true) => Some(self.at_last_data().unwrap_or(NO_STATUS)),
        }
    }

    /// The verdict at the end of a body without trailers; `None` where there had to be trailers.
    pub(crate) fn at_last_data(&self) -> Option<Verdict> {
        (!self.expected.grpc).then(Verdict::success)
    }

    pub(crate) fn at_trailers(&self, trailers: &HeaderMap) -> Verdict {
        if !self.expected.grpc {
            return Verdict::success();
        }
        self.expected.table.status(trailers).unwrap_or(NO_STATUS)
    }

    pub(crate) fn at_error(&self, error: &(dyn Error + 'static)) -> Verdict {
        self.expected.error(error)
    }
}

const NO_STATUS: Verdict = Verdict::failure("the response ended without a grpc-status");

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
