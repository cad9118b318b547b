use std::pin::Pin;
use std::task::{Context, Poll, ready};

use safelight_proto::facerecog::identify_server::SERVICE_NAME as IDENTIFY;
use safelight_proto::recognizer::v1::recognizer_server::SERVICE_NAME as RECOGNIZER;
use tokio::sync::watch;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::state::State;

/// The names that are answered for: the server as a whole, and the services that recognize.
const NAMES: [&str; 3] = ["", IDENTIFY, RECOGNIZER];

/// `grpc.health.v1.Health`, following the recognizer's state.
///
/// Other than the one of `tonic-health`, its `Watch` ends after it told of the stop: a watcher would
/// otherwise hold its connection, and with it the whole shutdown, until the time for draining is over.
pub(crate) struct HealthService {
    state: watch::Receiver<State>,
}

// === impl HealthService ===

impl HealthService {
    pub(crate) fn new(state: watch::Receiver<State>) -> Self {
        Self { state }
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_known(&request.get_ref().service) {
            return Err(Status::not_found("there is no service of this name here"));
        }
        Ok(Response::new(answer(status_of(&self.state.borrow()))))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !is_known(&request.get_ref().service) {
            // By the protocol a watcher of an unknown name is kept, in case the service comes; none does here.
            let unknown = tokio_stream::once(Ok(answer(ServingStatus::ServiceUnknown)));
            return Ok(Response::new(Box::pin(unknown)));
        }
        let states = UntilStop {
            states: WatchStream::new(self.state.clone()),
            stopped: false,
        };
        Ok(Response::new(Box::pin(states)))
    }
}

/// The health at every change of the state, and the end after the stop.
struct UntilStop {
    states: WatchStream<State>,
    stopped: bool,
}

// === impl UntilStop ===

impl Stream for UntilStop {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.stopped {
            return Poll::Ready(None);
        }
        let state = ready!(Pin::new(&mut self.states).poll_next(context));
        self.stopped = state.as_ref().is_none_or(|state| *state == State::Stopping);
        Poll::Ready(state.map(|state| Ok(answer(status_of(&state)))))
    }
}

fn is_known(service: &str) -> bool {
    NAMES.contains(&service)
}

fn status_of(state: &State) -> ServingStatus {
    if state.is_serving() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}
