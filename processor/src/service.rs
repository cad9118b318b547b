//! The processor as a whole: what it stands on, and its running.

use std::sync::Arc;
use std::time::Duration;

use safelight_database::{Claim, Database, TaskKind};
use safelight_mesh::{Availability, AvailabilityState, Target, trace};
use safelight_queue::{CHANNEL, Delivery, Queue, QueueError, SubscriptionControl, TOPIC_IMAGES};
use safelight_service::{Readiness, Shutdown};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::recognition::{RecognizerApi, RecognizerClient};
use crate::settings::Settings;
use crate::work::{Left, Worker};
use crate::{consumer, sweep};

/// How often the backlog is measured.
const MEASURE: Duration = Duration::from_secs(5);

/// What a processor stands on.
#[derive(Clone)]
pub struct Processor {
    /// The truth.
    pub database: Database,
    /// What brings the work.
    pub queue: Queue,
    /// The recognizer, behind the mesh.
    pub recognizer: Target,
    /// The contract it speaks.
    pub recognizer_api: RecognizerApi,
    /// How to work.
    pub settings: Settings,
}

/// Works until `shutdown`, then lets what runs finish for [`Settings::drain`] and gives the rest back.
///
/// # Errors
/// Where the queue refuses the subscription, which only a wrong configuration does: a queue that is away is
/// waited for.
pub async fn run(processor: Processor, readiness: Readiness, shutdown: Shutdown) -> Result<(), QueueError> {
    let Processor {
        database,
        queue,
        recognizer,
        recognizer_api,
        settings,
    } = processor;
    let asked = database.clone();
    readiness.register("database", Duration::from_secs(2), move || {
        let asked = asked.clone();
        async move { asked.ping().await.map_err(|error| error.to_string()) }
    });
    let client = RecognizerClient::new(recognizer_api, recognizer.channel(), database.clone());
    let settings = Arc::new(settings);
    let crew = Crew {
        hands: Arc::new(Semaphore::new(settings.concurrency)),
        worker: Worker::new(database.clone(), client, Arc::clone(&settings)),
        availability: recognizer.availability(),
        trial: Arc::new(Semaphore::new(1)),
        running: TaskTracker::new(),
        cut_off: Shutdown::new(),
    };
    let max_in_flight = u32::try_from(settings.concurrency).unwrap_or(u32::MAX);
    let subscription = queue.subscribe(TOPIC_IMAGES, CHANNEL, max_in_flight)?;
    let follow = follow(
        recognizer.availability(),
        subscription.control(),
        max_in_flight,
        readiness,
        shutdown.clone(),
    );
    let tending = [
        tokio::spawn(follow),
        tokio::spawn(consumer::consume(subscription, crew.clone(), shutdown.clone())),
        tokio::spawn(sweep::sweep(crew.clone(), shutdown.clone())),
        tokio::spawn(measure(database, shutdown.clone())),
    ];
    shutdown.triggered().await;
    // The consumer's own end waits for the running work, too: both have the same time.
    let deadline = Instant::now() + crew.settings().drain;
    for task in tending {
        if let Err(error) = task.await {
            tracing::error!(%error, "a part of the processor ended badly");
        }
    }
    crew.drain(deadline).await;
    Ok(())
}

/// Holds the subscription back while the recognizer is away, and says so at `/ready`; while it is on trial, takes the
/// one image that it is tried out with.
async fn follow(
    mut availability: watch::Receiver<Availability>,
    flow: SubscriptionControl,
    max_in_flight: u32,
    readiness: Readiness,
    shutdown: Shutdown,
) {
    loop {
        let now = availability.borrow_and_update().clone();
        flow.set_max_in_flight(allowed(&now, max_in_flight));
        readiness.set(
            "recognizer",
            match now.state {
                AvailabilityState::Available => Ok(()),
                AvailabilityState::Unavailable => Err(now.reason.into_owned()),
            },
        );
        tokio::select! {
            changed = availability.changed() => if changed.is_err() { break },
            () = shutdown.triggered() => break,
        }
    }
}

/// How many messages to take at a time: more than can be worked on would only be put back.
fn allowed(recognizer: &Availability, max_in_flight: u32) -> u32 {
    match recognizer.state {
        AvailabilityState::Unavailable => 0,
        AvailabilityState::Available if recognizer.one_at_a_time => 1,
        AvailabilityState::Available => max_in_flight,
    }
}

/// The hands that work, and what they work with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Crew {
    hands: Arc<Semaphore>,
    worker: Worker,
    availability: watch::Receiver<Availability>,
    /// Held by the one image that tries out a recognizer that has just come back.
    trial: Arc<Semaphore>,
    running: TaskTracker,
    /// Set off when running work has had its time to finish.
    cut_off: Shutdown,
}

impl Crew {
    pub(crate) fn settings(&self) -> &Settings {
        &self.worker.settings
    }

    pub(crate) fn database(&self) -> &Database {
        &self.worker.database
    }

    /// Leave to work on an image now; `None` while the recognizer is away, and for all but one image while it
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
        span.set("safelight.image.tries", claim.tries);
        span.within(async {
            tokio::select! {
                left = self.worker.work(claim, delivery) => left,
                () = self.cut_off.triggered() => self.worker.give_back(claim).await,
            }
        })
        .await
    }

    async fn drain(&self, deadline: Instant) {
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

async fn measure(database: Database, shutdown: Shutdown) {
    loop {
        if let Ok(backlog) = database.tasks().backlog(TaskKind::Identify).await {
            for (state, count) in [
                ("ready", backlog.ready),
                ("leased", backlog.leased),
                ("waiting", backlog.waiting),
            ] {
                metrics::gauge!("processor_backlog", "state" => state).set(count as f64);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(MEASURE) => {}
            () = shutdown.triggered() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_is_taken_while_the_recognizer_is_away_and_one_while_it_is_on_trial() {
        let recognizer = |state, one_at_a_time| Availability {
            state,
            reason: "".into(),
            retry_at: None,
            one_at_a_time,
        };
        assert_eq!(allowed(&recognizer(AvailabilityState::Unavailable, false), 8), 0);
        assert_eq!(allowed(&recognizer(AvailabilityState::Available, true), 8), 1);
        assert_eq!(allowed(&recognizer(AvailabilityState::Available, false), 8), 8);
    }
}
