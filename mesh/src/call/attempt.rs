//! One try at one endpoint.

use std::time::Duration;

use http::{HeaderMap, Request, Response};
use tokio::time::Instant;

use super::{Caller, MeshBody, ReplayBody};
use crate::balancer::Picked;
use crate::breaker::{JudgedBody, Outcome};
use crate::deadline::Deadline;
use crate::error::CallError;
use crate::grpc::{Code, Status};

/// How a try ended.
pub(super) enum Ended {
    /// With an answer for the caller.
    Answer(Response<MeshBody>),
    /// With an answer that says to come again; it is the caller's if nothing better comes.
    Refusal(Response<MeshBody>, Pushback),
    /// Without an answer.
    Error(CallError),
}

/// What a server says about coming again (`grpc-retry-pushback-ms`, gRFC A6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushback {
    None,
    After(Duration),
    Never,
}

const PUSHBACK: &str = "grpc-retry-pushback-ms";

// === impl Caller ===

impl Caller {
    /// One try at one endpoint; its circuit and its load learn how it ended.
    pub(super) async fn try_once(
        &self,
        picked: Picked,
        request: Request<ReplayBody>,
        deadline: Deadline,
    ) -> Ended {
        let Picked {
            endpoint,
            permit,
            mut in_flight,
            live,
        } = picked;
        let expected = self.classifier.expect(&request);
        let injected = if self.faults.any() {
            self.faults.befall(&endpoint.name, deadline).await
        } else {
            None
        };
        let answer = match injected {
            Some(injected) => injected,
            None => live.exchange(&self.target, request, deadline).await,
        };
        match answer {
            Ok(response) => {
                let judge = expected.response(&response);
                let over = http_body::Body::is_end_stream(response.body());
                let bad = judge
                    .at_headers(over)
                    .is_some_and(|verdict| matches!(verdict.outcome, Outcome::Failure | Outcome::Overload));
                let now = Instant::now();
                if bad {
                    in_flight.failed(now);
                } else {
                    in_flight.answered(now);
                }
                let refusal = Self::refusal(response.headers());
                let response =
                    response.map(|body| MeshBody::new(JudgedBody::new(body, Some(permit), judge), in_flight));
                match refusal {
                    Some(pushback) => Ended::Refusal(response, pushback),
                    None => Ended::Answer(response),
                }
            }
            Err(error) => {
                let verdict = expected.error(&error);
                if verdict.outcome == Outcome::Failure || verdict.outcome == Outcome::Overload {
                    in_flight.failed(Instant::now());
                }
                permit.judge(&verdict);
                if matches!(error, CallError::DeadlinePassed { sent: true, .. }) {
                    endpoint.suspect();
                }
                Ended::Error(error)
            }
        }
    }

    /// Whether a response without a body asks to come again.
    fn refusal(headers: &HeaderMap) -> Option<Pushback> {
        let code = Code::from_bytes(headers.get(Status::GRPC_STATUS)?.as_bytes());
        if !matches!(code, Code::Unavailable | Code::ResourceExhausted) {
            return None;
        }
        Some(match headers.get(PUSHBACK) {
            None => Pushback::None,
            Some(value) => match value.to_str().ok().and_then(|text| text.parse::<u32>().ok()) {
                Some(millis) => Pushback::After(Duration::from_millis(millis.into())),
                // A negative number, or none at all.
                None => Pushback::Never,
            },
        })
    }
}
