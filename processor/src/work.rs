//! One claimed task, from the claim to what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use safelight_database::{Claim, Database, Error, RetryOutcome, TaskKind};
use safelight_mesh::trace;
use safelight_queue::Delivery;
use tokio::sync::{Notify, Semaphore};

use crate::job::{Done, Job};
use crate::lease::{self, Lost, RenewalError};
use crate::settings::Settings;
use crate::verdict::{Verdict, judge};
use crate::vitality::Vitality;

/// What there is left to do about a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing: it has its final state.
    Nothing,
    /// It is due again after this time.
    Again(Duration),
    /// Somebody else has it, for this long if he dies, or it waits for so long.
    Elsewhere(Duration),
}

/// Works on claimed tasks of one kind. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) database: Database,
    pub(crate) job: Job,
    pub(crate) settings: Arc<Settings>,
    /// Wakes the relay, where an end leaves messages behind.
    relay: Arc<Notify>,
    vitality: Arc<Vitality>,
    /// Images whose worker died before are worked on one at a time, so that the one that kills it is found
    /// and those that merely flew along are not blamed.
    quarantine: Arc<Semaphore>,
}

impl Worker {
    pub(crate) fn new(database: Database, job: Job, settings: Arc<Settings>, relay: Arc<Notify>) -> Self {
        let quarantine = Arc::new(Semaphore::new(1));
        Self {
            database,
            job,
            settings,
            relay,
            vitality: Arc::new(Vitality::new()),
            quarantine,
        }
    }

    /// Works on an image under its lease. The message that brought it, if one did, is kept alive as well.
    pub(crate) async fn work(&self, claim: &Claim, delivery: Option<&Delivery>) -> Left {
        let claimed = tokio::time::Instant::now();
        match lease::hold(
            claimed,
            claim.lease,
            || self.renew(claim, delivery),
            Box::pin(self.perform(claim)),
        )
        .await
        {
            Ok(left) => left,
            Err(Lost) => {
                tracing::warn!(
                    image = claim.image_id,
                    "the claim was lost; somebody else goes on with it"
                );
                metrics::counter!("processor_claims_lost_total").increment(1);
                // The message stays until the one who has the claim has ended it.
                Left::Elsewhere(claim.lease)
            }
        }
    }

    async fn renew(&self, claim: &Claim, delivery: Option<&Delivery>) -> Result<(), RenewalError> {
        let image = claim.image_id;
        if let Some(delivery) = delivery
            && let Err(error) = delivery.touch().await
        {
            tracing::debug!(image, %error, "a message could not be kept; the queue will bring it again");
        }
        match self.database.tasks().renew(claim).await {
            Ok(()) => Ok(()),
            Err(Error::LostClaim) => Err(RenewalError::Lost),
            Err(error) => {
                tracing::warn!(image, %error, "cannot renew a claim");
                Err(RenewalError::Unavailable)
            }
        }
    }

    async fn perform(&self, claim: &Claim) -> Left {
        let suspect = claim.claims > 1;
        let _alone = if suspect {
            match self.quarantine.try_acquire() {
                Ok(permit) => Some(permit),
                Err(_) => return self.give_back(claim).await,
            }
        } else {
            None
        };
        let begun = Instant::now();
        let answer = self.job.work(claim).await;
        metrics::histogram!("processor_task_seconds", "kind" => claim.kind.as_str()).record(begun.elapsed());
        match answer {
            Ok(done) => {
                self.vitality.good();
                self.write(claim, &Ending::Processed(done)).await
            }
            Err(status) => {
                // Read before the image's own answer is counted as life.
                let alive = self.vitality.since(begun);
                let verdict = judge(&status, alive);
                if matches!(verdict, Verdict::Bad(..)) {
                    self.vitality.good();
                }
                tracing::debug!(
                    image = claim.image_id,
                    kind = claim.kind.as_str(),
                    path = claim.path,
                    ?verdict,
                    "no result"
                );
                self.write(claim, &Ending::Without(verdict)).await
            }
        }
    }

    /// Gives a claim back as if it had never been taken.
    pub(crate) async fn give_back(&self, claim: &Claim) -> Left {
        self.write(claim, &Ending::Released).await
    }

    async fn write(&self, claim: &Claim, ending: &Ending) -> Left {
        let span = trace::span("write", [("safelight.image.outcome", ending.outcome().into())]);
        span.within(self.write_at_last(claim, ending)).await
    }

    /// Writes what came of an image, again and again while the database is away: the lease ends the attempts,
    /// and then the work is somebody's again.
    async fn write_at_last(&self, claim: &Claim, ending: &Ending) -> Left {
        const PAUSE: Duration = Duration::from_millis(250);
        let (image, outcome) = (claim.image_id, ending.outcome());
        loop {
            match self.try_write(claim, ending).await {
                Ok(left) => {
                    count(claim.kind, outcome);
                    if claim.batch_id.is_some() {
                        self.relay.notify_one();
                    }
                    return left;
                }
                Err(Error::LostClaim) => {
                    metrics::counter!("processor_claims_lost_total").increment(1);
                    tracing::warn!(image, outcome, "the claim was lost before the result was written");
                    return Left::Elsewhere(claim.lease);
                }
                Err(error) if error.is_unavailable() => {
                    tracing::warn!(image, outcome, %error, "cannot write a result; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    // The claim stays counted, so an image whose result can never be written ends, too.
                    tracing::error!(image, outcome, %error, "the database refuses a result");
                    return Left::Again(claim.lease);
                }
            }
        }
    }

    async fn try_write(&self, claim: &Claim, ending: &Ending) -> Result<Left, Error> {
        let tasks = self.database.tasks();
        let wait = self.settings.wait_delay;
        match ending {
            Ending::Processed(done) => {
                match done {
                    Done::Recognized(recognition) => tasks.complete(claim, recognition).await?,
                    Done::Prepared(prepared) => tasks.complete_prepare(claim, prepared).await?,
                    Done::Made(outputs) => tasks.complete_outputs(claim, outputs).await?,
                }
                Ok(Left::Nothing)
            }
            Ending::Without(Verdict::Bad(fault, reason)) => {
                tasks.fail(claim, *fault, reason).await?;
                Ok(Left::Nothing)
            }
            Ending::Without(Verdict::Again(fault, why)) => {
                let delay = self.settings.delay_after(claim.tries + 1);
                let retried = tasks.retry(claim, delay, *fault, why, self.settings.max_tries);
                Ok(match retried.await? {
                    RetryOutcome::Again => Left::Again(delay),
                    RetryOutcome::Failed => Left::Nothing,
                })
            }
            Ending::Without(Verdict::Wait(why)) => {
                tasks.wait(claim, wait, self.job.service(), why).await?;
                Ok(Left::Again(wait))
            }
            Ending::Without(Verdict::Interrupted(why)) => {
                tasks.interrupted(claim, wait, self.job.service(), why).await?;
                Ok(Left::Again(wait))
            }
            Ending::Released => {
                tasks.release(claim).await?;
                Ok(Left::Again(wait))
            }
        }
    }
}

fn count(kind: TaskKind, outcome: &'static str) {
    metrics::counter!("processor_tasks_total", "kind" => kind.as_str(), "outcome" => outcome).increment(1);
    if kind == TaskKind::Identify {
        metrics::counter!("processor_images_total", "outcome" => outcome).increment(1);
    }
}

/// How the work on a claim ends.
enum Ending {
    Processed(Done),
    Without(Verdict),
    Released,
}

impl Ending {
    /// The label of the metric that counts it.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Processed(_) => "processed",
            Self::Without(Verdict::Bad(..)) => "failed",
            Self::Without(Verdict::Again(..)) => "retried",
            Self::Without(Verdict::Wait(_)) => "waiting",
            Self::Without(Verdict::Interrupted(_)) => "interrupted",
            Self::Released => "released",
        }
    }
}
