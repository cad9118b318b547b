//! `grpc.health.v1.Health`, following readiness.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::stream;
use tokio::sync::watch;

use super::phase::Phase;
use crate::grpc::health::Health;
use crate::grpc::health::ServingStatus;
use crate::grpc::health::{HealthCheckRequest, HealthCheckResponse};
use crate::grpc::{Request, Response, Status};

/// Answers for the server as a whole, the empty name, and for each of its services alike.
///
/// Other than the one of `tonic-health`, its `Watch` ends when the server stops, after it told of it: a watcher
/// would otherwise hold its connection, and with it the whole stop, until the time for draining is over.
#[derive(Clone, Debug)]
pub(super) struct HealthService {
    services: Arc<[String]>,
    readiness: Option<watch::Receiver<bool>>,
    phases: watch::Receiver<Phase>,
}

/// One who watches.
struct Watcher {
    health: HealthService,
    known: bool,
    told: Option<ServingStatus>,
}

// === impl HealthService ===

impl HealthService {
    /// Without `readiness` the server is ready until it stops.
    pub(super) fn new(
        services: &[&str],
        readiness: Option<watch::Receiver<bool>>,
        phases: watch::Receiver<Phase>,
    ) -> Self {
        Self {
            services: services.iter().map(|service| (*service).to_owned()).collect(),
            readiness,
            phases,
        }
    }

    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.services.iter().any(|known| known == service)
    }

    fn status(&self) -> ServingStatus {
        let ready = self.readiness.as_ref().is_none_or(|ready| *ready.borrow());
        if ready && *self.phases.borrow() == Phase::Serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }

    /// Returns when the status may be another, or the server is gone.
    async fn changed(&mut self) {
        let readiness = async {
            let changed = match &mut self.readiness {
                Some(readiness) => readiness.changed().await.is_ok(),
                None => false,
            };
            if !changed {
                // The last word of whoever reported it holds.
                std::future::pending().await
            }
        };
        tokio::select! {
            () = readiness => {}
            _ = self.phases.changed() => {}
        }
    }
}

#[crate::grpc::async_trait]
impl Health for HealthService {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.knows(&request.get_ref().service) {
            return Err(Status::not_found("there is no service of this name here"));
        }
        Ok(Response::new(answer(self.status())))
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watcher = Watcher {
            health: self.clone(),
            known: self.knows(&request.get_ref().service),
            told: None,
        };
        let answers = stream::unfold(watcher, async |mut watcher| {
            let status = watcher.next().await?;
            Some((Ok(answer(status)), watcher))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

// === impl Watcher ===

impl Watcher {
    /// The next status that differs from the last, `None` after the server's stop was told.
    async fn next(&mut self) -> Option<ServingStatus> {
        loop {
            let phase = *self.health.phases.borrow_and_update();
            // By the protocol a watcher of an unknown name is kept, in case the service comes.
            let status = match self.known {
                true => self.health.status(),
                false => ServingStatus::ServiceUnknown,
            };
            if self.told.replace(status) != Some(status) {
                return Some(status);
            }
            if phase >= Phase::Stopping || self.health.phases.has_changed().is_err() {
                return None;
            }
            self.health.changed().await;
        }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}
