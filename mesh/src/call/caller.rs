//! A call: what all its tries share, and whether there is to be another one.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use http::request::Parts;
use http::{Request, Response};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::attempt::{Ended, Pushback};
use super::{Budget, Bulkhead, Idempotency, MeshBody, Methods, Replay, ReplayBody, Slot};
use crate::balancer::{Picked, Picker};
use crate::classify::Classifier;
use crate::deadline::{self, Deadline};
use crate::error::{CallError, Failed};
use crate::faults::Faults;
use crate::grpc::{Body, Code, Status};
use crate::metric_names;
use crate::random;
use crate::settings::Settings;
use crate::trace::CallSpan;
use crate::transport::{Origin, late};

/// All that the calls to one target share.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) target: Arc<str>,
    pub(crate) origin: Origin,
    pub(crate) settings: Settings,
    pub(crate) picker: Arc<Picker>,
    pub(crate) methods: Methods,
    pub(crate) classifier: Classifier,
    pub(crate) bulkhead: Bulkhead,
    pub(crate) budget: Budget,
    pub(crate) faults: Arc<Faults>,
    pub(crate) meters: Meters,
}

#[derive(Debug)]
pub(crate) struct Meters {
    retries: metrics::Counter,
    resends: metrics::Counter,
    hedges: metrics::Counter,
    over_budget: metrics::Counter,
    queue_full: metrics::Counter,
}

/// One call as it goes on.
struct Course {
    parts: Parts,
    replay: Replay,
    deadline: Deadline,
    idempotent: bool,
    /// The endpoints that have been tried, by id.
    tried: Vec<u64>,
    /// The last of them.
    endpoint: Option<Arc<str>>,
    /// Tries that may have reached a server.
    tries: u32,
    /// Tries that certainly were not processed.
    unsent: u32,
}

/// How often a call that certainly was not processed is sent again, beside all counts: an endpoint that refuses
/// every stream must not keep its callers busy.
const MOST_RESENDS: u32 = 5;

// === impl Caller ===

impl Caller {
    pub(crate) async fn call(self: Arc<Self>, mut request: Request<Body>) -> Result<Response<Body>, Failed> {
        // A call that a server's handler makes has no more time than is left of the call that the handler answers.
        deadline::inherit(request.headers_mut());
        let deadline = Deadline::new(self.settings.deadline, request.headers(), Instant::now());
        let mut span = CallSpan::client(&self.target, &self.origin.authority, &mut request);
        let slot = match self.enter(deadline).await {
            Ok(slot) => slot,
            Err(error) => {
                span.end(error.code());
                return Err(Failed::new(error, None, 0));
            }
        };
        self.origin.direct(&mut request);
        let idempotent = self.methods.idempotency(request.uri().path()) == Idempotency::Idempotent;
        let (parts, body) = request.into_parts();
        let mut course = Course {
            parts,
            replay: Replay::new(body, self.settings.replay_limit),
            deadline,
            idempotent,
            tried: Vec::new(),
            endpoint: None,
            tries: 0,
            unsent: 0,
        };
        let pursued = self.pursue(&mut course).await;
        span.tried(course.endpoint.as_ref(), course.tries);
        match pursued {
            Ok(response) => {
                if let Some(code) = response.headers().get(Status::GRPC_STATUS) {
                    span.end(Code::from_bytes(code.as_bytes()));
                }
                Ok(response.map(|body| Body::new(body.hold(slot).traced(span))))
            }
            Err(failed) => {
                span.end(failed.code());
                Err(failed)
            }
        }
    }

    async fn enter(&self, deadline: Deadline) -> Result<Slot, CallError> {
        if let Some(slot) = self.bulkhead.try_enter() {
            return Ok(slot);
        }
        match timeout_at(deadline.at, self.bulkhead.enter()).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(full)) => {
                self.meters.queue_full.increment(1);
                Err(CallError::QueueFull {
                    target: self.target.clone(),
                    in_flight: full.in_flight,
                    in_wait: full.in_wait,
                })
            }
            Err(_) => Err(late(&self.target, deadline, false)),
        }
    }

    /// Tries until there is an answer, or no further try is allowed.
    async fn pursue(&self, course: &mut Course) -> Result<Response<MeshBody>, Failed> {
        loop {
            let picked = self.picked(&mut course.tried, course.deadline).await;
            let picked = picked.map_err(|error| course.failed(error))?;
            let Some(request) = course.request() else {
                // Only after a first try, which would have been the last if we had known.
                return Err(course.failed(CallError::Broken {
                    target: self.target.clone(),
                    reason: "the request cannot be sent again".to_owned(),
                }));
            };
            course.tried.push(picked.endpoint.id);
            course.endpoint = Some(picked.endpoint.name.clone());
            let first = course.tries == 0;
            let ended = self.try_hedged(course, picked, request).await;
            let unsent = matches!(&ended, Ended::Error(error) if error.is_unsent());
            if unsent {
                course.unsent += 1;
            } else {
                course.tries += 1;
                if first {
                    self.budget.first_ended(Instant::now());
                }
            }
            let wait = match self.next(course, &ended) {
                Some(wait) => wait,
                None => {
                    return match ended {
                        Ended::Answer(response) | Ended::Refusal(response, _) => Ok(response),
                        Ended::Error(error) => Err(course.failed(error)),
                    };
                }
            };
            tracing::debug!(
                target_name = &*self.target,
                endpoint = course.endpoint.as_deref(),
                tries = course.tries,
                unsent,
                "trying again"
            );
            drop(ended);
            if !wait.is_zero() {
                sleep(wait).await;
            }
        }
    }

    /// One try; and where the method may be repeated and hedging is on, a second one beside it when the first has
    /// not been answered in time.
    async fn try_hedged(&self, course: &mut Course, picked: Picked, request: Request<ReplayBody>) -> Ended {
        match self.settings.hedge_after.filter(|_| course.idempotent) {
            None => self.try_once(picked, request, course.deadline).await,
            // On the heap: every call would have the room of two tries more.
            Some(after) => Box::pin(self.hedged(course, picked, request, after)).await,
        }
    }

    /// One try, and a second one beside it when the first has not been answered `after` this time. The first answer
    /// is taken and the other try dropped.
    async fn hedged(
        &self,
        course: &mut Course,
        picked: Picked,
        request: Request<ReplayBody>,
        after: Duration,
    ) -> Ended {
        let slow = picked.endpoint.clone();
        let mut first = pin!(self.try_once(picked, request, course.deadline));
        if let Ok(ended) = timeout(after, &mut first).await {
            return ended;
        }
        let Some((picked, request)) = self.hedge(course) else {
            return first.await;
        };
        let second = pin!(self.try_once(picked, request, course.deadline));
        let (ended, other) = match select(first, second).await {
            Either::Left((ended, second)) => (ended, Either::Right(second)),
            Either::Right((ended, first)) => {
                // Its try is dropped and says nothing: a probe has to.
                slow.suspect();
                (ended, Either::Left(first))
            }
        };
        if matches!(ended, Ended::Answer(_)) {
            return ended;
        }
        match other.await {
            answer @ Ended::Answer(_) => answer,
            // Neither is an answer: the one that ended first says why.
            _ => ended,
        }
    }

    /// Another endpoint for a second try beside the first, where there is one and the budget allows it.
    fn hedge(&self, course: &mut Course) -> Option<(Picked, Request<ReplayBody>)> {
        if course.tries + 1 >= self.settings.tries || !course.replay.is_complete() {
            return None;
        }
        let now = Instant::now();
        let picked = self.picker.pick(&course.tried, now).ok()?;
        if !self.budget.grant(now) {
            self.meters.over_budget.increment(1);
            return None;
        }
        let request = course.request()?;
        course.tried.push(picked.endpoint.id);
        course.tries += 1;
        self.meters.hedges.increment(1);
        Some((picked, request))
    }

    /// Whether to try again, and after how long.
    fn next(&self, course: &Course, ended: &Ended) -> Option<Duration> {
        let now = Instant::now();
        let pushback = match ended {
            Ended::Answer(_) => return None,
            Ended::Error(error) if error.is_unsent() => {
                if course.unsent > MOST_RESENDS {
                    return None;
                }
                self.meters.resends.increment(1);
                return Some(Duration::ZERO);
            }
            Ended::Error(CallError::Broken { .. }) if self.settings.retry_broken => Pushback::None,
            Ended::Error(_) => return None,
            Ended::Refusal(_, pushback) => *pushback,
        };
        if !course.idempotent || course.tries >= self.settings.tries || course.replay.body().is_none() {
            return None;
        }
        let wait = match pushback {
            Pushback::Never => return None,
            Pushback::After(wait) => wait,
            // Another endpoint need not wait for what this one suffers from.
            Pushback::None if self.has_untried(course) => Duration::ZERO,
            Pushback::None => self.backoff(course.tries),
        };
        if now + wait >= course.deadline.at {
            return None;
        }
        if !self.budget.grant(now) {
            self.meters.over_budget.increment(1);
            return None;
        }
        self.meters.retries.increment(1);
        Some(wait)
    }

    fn has_untried(&self, course: &Course) -> bool {
        let choice = self.picker.choice();
        choice
            .ready
            .iter()
            .any(|endpoint| !course.tried.contains(&endpoint.id))
    }

    /// Doubling from the first, drawn from the upper half, as gRPC's retries have it.
    fn backoff(&self, tries: u32) -> Duration {
        let longest = self.settings.retry_backoff * 2_u32.saturating_pow(tries.saturating_sub(1).min(10));
        longest.mul_f64(random::within(0.5..=1.0))
    }
}

// === impl Course ===

impl Course {
    /// The request once more; `None` where its body is gone.
    fn request(&self) -> Option<Request<ReplayBody>> {
        Some(Request::from_parts(self.parts.clone(), self.replay.body()?))
    }

    fn failed(&self, error: CallError) -> Failed {
        Failed::new(error, self.endpoint.clone(), self.tries)
    }
}

// === impl Meters ===

impl Meters {
    pub(crate) fn new(target: &str) -> Self {
        let target = || target.to_owned();
        Self {
            retries: metrics::counter!(metric_names::RETRIES, "target" => target()),
            resends: metrics::counter!(metric_names::RESENDS, "target" => target()),
            hedges: metrics::counter!(metric_names::HEDGES, "target" => target()),
            over_budget: metrics::counter!(metric_names::RETRIES_OVER_BUDGET, "target" => target()),
            queue_full: metrics::counter!(metric_names::QUEUE_FULL, "target" => target()),
        }
    }
}
