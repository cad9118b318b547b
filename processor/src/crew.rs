//! Those who work on one kind of task.

use std::sync::Arc;

use safelight_database::{Claim, Database, TaskKind};
use safelight_mesh::{Availability, AvailabilityState, trace};
use safelight_queue::Delivery;
use safelight_service::Shutdown;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::settings::Settings;
use crate::work::{Left, Worker};

/// The hands that do one kind of work, and what they work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Crew {
    hands: Arc<Semaphore>,
    worker: Worker,
    availability: watch::Receiver<Availability>,
    /// Held by the one image that tries out a service that has just come back.
    trial: Arc<Semaphore>,
    running: TaskTracker,
    /// Set off when running work has had its time to finish.
    cut_off: Shutdown,
}

impl Crew {
    /// `concurrency` hands for one kind of work.
    pub(crate) fn new(
        concurrency: usize,
        worker: Worker,
        availability: watch::Receiver<Availability>,
    ) -> Self {
        Self {
            hands: Arc::new(Semaphore::new(concurrency)),
            worker,
            availability,
            trial: Arc::new(Semaphore::new(1)),
            running: TaskTracker::new(),
            cut_off: Shutdown::new(),
        }
    }

    pub(crate) fn kind(&self) -> TaskKind {
        self.worker.job.kind()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.worker.settings
    }

    pub(crate) fn database(&self) -> &Database {
        &self.worker.database
    }

    /// Leave to work on an image now; `None` while the service is away, and for all but one image while it
    /// is on trial. What is claimed without it only comes back.
    pub(crate) fn leave(&self) -> Option<Leave> {
        let now = self.availability.borrow();
        match now.state {
            AvailabilityState::Unavailable => None,
            AvailabilityState::Available if now.one_at_a_time => {
                let trial = Arc::clone(&self.trial).try_acquire_owned().ok()?;
                Some(Leave { trial: Some(trial) })
            }
            AvailabilityState::Available => Some(Leave { trial: None }),
        }
    }

    /// Waits until somebody is free. Cancel safe; first come, first served.
    pub(crate) async fn hand(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.hands).acquire_owned().await {
            Ok(hand) => hand,
            Err(_) => unreachable!("nobody closes this semaphore"),
        }
    }

    pub(crate) fn try_hand(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.hands).try_acquire_owned().ok()
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(work);
    }

    /// Works on an image; gives it back when its time after the word to stop is over.
    pub(crate) async fn work(&self, claim: &Claim, delivery: Option<&Delivery>) -> Left {
        let mut span = trace::span("image", [("safelight.image.id", claim.image_id.into())]);
        span.set("safelight.task.kind", claim.kind.as_str());
        span.set("safelight.image.tries", claim.tries);
        span.within(async {
            tokio::select! {
                left = self.worker.work(claim, delivery) => left,
                () = self.cut_off.triggered() => self.worker.give_back(claim).await,
            }
        })
        .await
    }

    pub(crate) async fn drain(&self, deadline: Instant) {
        self.running.close();
        let drain = self.settings().drain;
        if tokio::time::timeout_at(deadline, self.running.wait())
            .await
            .is_err()
        {
            tracing::info!(images = self.running.len(), "giving back what is still running");
            self.cut_off.trigger();
            if tokio::time::timeout(drain, self.running.wait()).await.is_err() {
                tracing::warn!(
                    images = self.running.len(),
                    "could not give back; their leases will end"
                );
            }
        }
    }
}

/// Held while an image is worked on.
pub(crate) struct Leave {
    trial: Option<OwnedSemaphorePermit>,
}

impl Leave {
    /// Whether it is for one image alone.
    pub(crate) fn is_trial(&self) -> bool {
        self.trial.is_some()
    }
}
