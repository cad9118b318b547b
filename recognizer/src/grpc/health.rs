use std::pin::Pin;

use safelight_proto::facerecog::identify_server::SERVICE_NAME as IDENTIFY;
use safelight_proto::recognizer::v1::recognizer_server::SERVICE_NAME as RECOGNIZER;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
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
        let mut stopped = false;
        let states = WatchStream::new(self.state.clone()).take_while(move |state| {
            // One message with the stop, and then the end.
            let more = !stopped;
            stopped = *state == State::Stopping;
            more
        });
        Ok(Response::new(Box::pin(
            states.map(|state| Ok(answer(status_of(&state)))),
        )))
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
