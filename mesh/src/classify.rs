//! What the end of a call says about the service. The one place that judges; the table is in [`crate::breaker`].

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, StatusCode};
use tonic::{Code, Status};

use crate::breaker::Outcome;
use crate::deadline;
use crate::error::{CallError, chain, find, was_not_processed};

/// An outcome and the reason for it.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) why: Cow<'static, str>,
}

/// Judges calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Classifier {
    /// What a call is given where its caller does not say otherwise.
    pub(crate) usual_deadline: Option<Duration>,
}

/// What a request lets us expect of its response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    classifier: Classifier,
    grpc: bool,
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

/// The longest part of a server's message that is kept as a reason.
const LONGEST_MESSAGE: usize = 200;

fn status_verdict(headers: &HeaderMap, short: bool) -> Option<Verdict> {
    let code = headers.get(Status::GRPC_STATUS)?;
    let code = Code::from_bytes(code.as_bytes());
    let outcome = code_outcome(code, short);
    if outcome == Outcome::Success {
        return Some(Verdict::success());
    }
    let message = headers
        .get(Status::GRPC_MESSAGE)
        .map(|value| value.as_bytes())
        .unwrap_or_default();
    let message = String::from_utf8_lossy(&message[..message.len().min(LONGEST_MESSAGE)]);
    Some(Verdict {
        outcome,
        why: format!("{code:?}: {message}").into(),
    })
}

// === impl Verdict ===

impl Verdict {
    pub(crate) const fn success() -> Self {
        Self {
            outcome: Outcome::Success,
            why: Cow::Borrowed(""),
        }
    }

    pub(crate) const fn failure(why: &'static str) -> Self {
        Self {
            outcome: Outcome::Failure,
            why: Cow::Borrowed(why),
        }
    }
}

// === impl Classifier ===

impl Classifier {
    pub(crate) fn expect<B>(self, request: &Request<B>) -> Expected {
        let allowed = deadline::of_headers(request.headers());
        let short = match (allowed, self.usual_deadline) {
            (Some(allowed), Some(usual)) => allowed < usual,
            (Some(_), None) => true,
            (None, _) => false,
        };
        Expected {
            classifier: self,
            grpc: is_grpc(request.headers()),
            short,
        }
    }

    /// By the type of the error and not by the code of a status made from it: tonic gives `CANCELLED` to its own
    /// timeout and to a dying connection alike.
    pub(crate) fn of_error(self, error: &(dyn Error + 'static), short: bool) -> Verdict {
        let outcome = if let Some(error) = find::<CallError>(error) {
            match error {
                CallError::CircuitOpen { .. }
                | CallError::TrialRunning { .. }
                | CallError::NoEndpoint { .. }
                | CallError::QueueFull { .. } => Outcome::Ignored,
                CallError::NotConnected { .. } | CallError::Broken { .. } => Outcome::Failure,
                CallError::NotProcessed { .. } => Outcome::Overload,
                CallError::NotGrpc { status, .. } => not_grpc_outcome(*status),
                CallError::DeadlinePassed { short: true, .. } => Outcome::Ignored,
                CallError::DeadlinePassed { short: false, .. } => Outcome::Failure,
            }
        } else if find::<tonic::TimeoutExpired>(error).is_some() {
            code_outcome(Code::DeadlineExceeded, short)
        } else if let Some(error) = find::<h2::Error>(error) {
            http2_outcome(error)
        } else if find::<hyper::Error>(error).is_some() {
            Outcome::Failure
        } else if let Some(status) = find::<Status>(error) {
            code_outcome(status.code(), short)
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
        Verdict {
            outcome,
            why: why.into(),
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
    pub(crate) fn response<B>(self, response: &Response<B>) -> Judge {
        let early = if self.grpc {
            self.grpc_headers(response)
        } else {
            http_headers(response.status())
        };
        Judge {
            expected: self,
            early,
        }
    }

    pub(crate) fn error(self, error: &(dyn Error + 'static)) -> Verdict {
        self.classifier.of_error(error, self.short)
    }

    fn grpc_headers<B>(self, response: &Response<B>) -> Option<Verdict> {
        // A response without a body has its status here.
        if let Some(verdict) = status_verdict(response.headers(), self.short) {
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
        })
    }
}

fn http_headers(status: StatusCode) -> Option<Verdict> {
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
    })
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
        status_verdict(trailers, self.expected.short).unwrap_or(NO_STATUS)
    }

    pub(crate) fn at_error(&self, error: &(dyn Error + 'static)) -> Verdict {
        self.expected.error(error)
    }
}

const NO_STATUS: Verdict = Verdict::failure("the response ended without a grpc-status");

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
