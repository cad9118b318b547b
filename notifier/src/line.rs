//! One channel: its messages, its sweep, and the hands that work on both.

use std::sync::Arc;
use std::time::Duration;

use safelight_database::{Channel, Database, Error, NotificationClaim, NotificationOutcome};
use safelight_queue::{Delivery, Subscription, SubscriptionControl};
use safelight_service::Shutdown;
use safelight_service::lease::{self, Lost, RenewalError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::gate::Gate;
use crate::settings::Settings;
use crate::teller::Teller;
use crate::verdict::Verdict;

/// Claims at most this much at a time, so that several notifiers share what is there.
const BATCH: usize = 16;
/// How long a message that cannot be looked at now is put back.
const PUT_BACK: Duration = Duration::from_secs(1);

/// What there is left to do about a message of the queue.
enum Left {
    /// Nothing: the notification has ended, or the database has it for the sweep.
    Nothing,
    /// It is to come again after this time.
    Again(Duration),
}

/// One channel, and what works on it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Line {
    channel: Channel,
    database: Database,
    teller: Teller,
    gate: Gate,
    settings: Arc<Settings>,
    hands: Arc<Semaphore>,
    running: TaskTracker,
    /// Set off when running work has had its time to finish.
    cut_off: Shutdown,
}

// === impl Line ===

impl Line {
    pub(crate) fn new(
        channel: Channel,
        database: Database,
        teller: Teller,
        gate: Gate,
        settings: Arc<Settings>,
    ) -> Self {
        Self {
            channel,
            database,
            teller,
            gate,
            hands: Arc::new(Semaphore::new(settings.concurrency)),
            settings,
            running: TaskTracker::new(),
            cut_off: Shutdown::new(),
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel
    }

    /// Takes messages while there is somebody free, until `shutdown`.
    pub(crate) async fn consume(self, mut subscription: Subscription, shutdown: Shutdown) {
        loop {
            let delivery = tokio::select! {
                delivery = subscription.next() => delivery,
                () = shutdown.triggered() => break,
            };
            let Some(delivery) = delivery else { break };
            // After the delivery: a hand that is held while nothing comes would be missed by the sweep.
            let hand = tokio::select! {
                hand = self.hand() => hand,
                () = shutdown.triggered() => break,
            };
            let line = self.clone();
            self.running.spawn(async move {
                let left = line.handle(&delivery).await;
                settle(delivery, left).await;
                drop(hand);
            });
        }
        // What was delivered and not begun goes back at once.
        subscription.close(self.settings.drain).await;
    }

    /// Holds the subscription back while the gate is closed.
    pub(crate) async fn follow(self, flow: SubscriptionControl, shutdown: Shutdown) {
        let mut closed = self.gate.watch();
        loop {
            if closed.borrow_and_update().is_none() {
                flow.resume();
            } else {
                flow.pause();
            }
            tokio::select! {
                changed = closed.changed() => if changed.is_err() { return },
                () = shutdown.triggered() => return,
            }
        }
    }

    /// Asks the database at intervals for what has been due for a while, until `shutdown`.
    pub(crate) async fn sweep(self, shutdown: Shutdown) {
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.triggered() => return,
            }
            pause = self.settings.sweep_interval;
            if !self.gate.is_open() {
                continue;
            }
            let mut hands = tokio::select! {
                hand = self.hand() => vec![hand],
                () = shutdown.triggered() => return,
            };
            while hands.len() < BATCH
                && let Ok(hand) = Arc::clone(&self.hands).try_acquire_owned()
            {
                hands.push(hand);
            }
            let limit = u32::try_from(hands.len()).unwrap_or(1);
            let notifications = self.database.notifications();
            let (overdue, lease) = (self.settings.sweep_overdue, self.settings.lease);
            let claims = match notifications.claim_due(self.channel, limit, overdue, lease).await {
                Ok(claims) => claims,
                Err(error) => {
                    tracing::warn!(channel = self.channel.as_str(), %error, "cannot look for what is to be told");
                    continue;
                }
            };
            metrics::counter!("notifier_swept_total", "channel" => self.channel.as_str())
                .increment(claims.len() as u64);
            if claims.len() == hands.len() {
                pause = Duration::ZERO;
            }
            for (claim, hand) in claims.into_iter().zip(hands) {
                let line = self.clone();
                self.running.spawn(async move {
                    line.work(claim, None).await;
                    drop(hand);
                });
            }
        }
    }

    /// Lets what runs finish until `deadline`, and gives the rest back.
    pub(crate) async fn drain(&self, deadline: Instant) {
        self.running.close();
        if tokio::time::timeout_at(deadline, self.running.wait())
            .await
            .is_err()
        {
            tracing::info!(messages = self.running.len(), "giving back what is still running");
            self.cut_off.trigger();
            if tokio::time::timeout(self.settings.drain, self.running.wait())
                .await
                .is_err()
            {
                tracing::warn!(
                    messages = self.running.len(),
                    "could not give back; their leases will end"
                );
            }
        }
    }

    async fn hand(&self) -> OwnedSemaphorePermit {
        match Arc::clone(&self.hands).acquire_owned().await {
            Ok(hand) => hand,
            Err(_) => unreachable!("nobody closes this semaphore"),
        }
    }

    async fn handle(&self, delivery: &Delivery) -> Left {
        let Some(id) = safelight_queue::decode_id(delivery.body()) else {
            tracing::warn!(
                bytes = delivery.body().len(),
                "a message that is no notification's id was dropped"
            );
            return Left::Nothing;
        };
        if !self.gate.is_open() {
            return Left::Again(PUT_BACK);
        }
        let notifications = self.database.notifications();
        match notifications.claim(id, self.channel, self.settings.lease).await {
            Ok(NotificationOutcome::Claimed(claim)) => {
                self.work(claim, Some(delivery)).await;
                // What is not ended is due at a time of its own, which the sweep knows.
                Left::Nothing
            }
            Ok(NotificationOutcome::NotDue { .. } | NotificationOutcome::Ended) => Left::Nothing,
            Ok(NotificationOutcome::Unknown) => {
                tracing::warn!(
                    notification = id,
                    "a message names a notification that nobody recorded"
                );
                Left::Nothing
            }
            Err(error) => {
                tracing::warn!(notification = id, %error, "cannot claim");
                Left::Again(PUT_BACK)
            }
        }
    }

    /// Works on a notification under its lease; gives it back when its time after the word to stop is over.
    async fn work(&self, claim: NotificationClaim, delivery: Option<&Delivery>) {
        let claims = match self.teller.gather(claim.clone()).await {
            Ok(claims) => claims,
            Err(verdict) => return self.write(&[claim], &verdict).await,
        };
        let begun = Instant::now();
        let lease = self.settings.lease;
        let told = async {
            let verdict = tokio::select! {
                verdict = self.teller.tell(&claims) => verdict,
                () = self.cut_off.triggered() => Verdict::Later(Duration::ZERO),
            };
            metrics::histogram!("notifier_tell_seconds", "channel" => self.channel.as_str())
                .record(begun.elapsed());
            self.write(&claims, &verdict).await;
        };
        let held = lease::hold(begun, lease, || self.renew(&claims, delivery), Box::pin(told));
        if let Err(Lost) = held.await {
            tracing::warn!(
                notification = claim.id,
                "the claim was lost; somebody else goes on with it"
            );
            metrics::counter!("notifier_claims_lost_total").increment(1);
        }
    }

    async fn renew(
        &self,
        claims: &[NotificationClaim],
        delivery: Option<&Delivery>,
    ) -> Result<(), RenewalError> {
        if let Some(delivery) = delivery
            && let Err(error) = delivery.touch().await
        {
            tracing::debug!(%error, "a message could not be kept; the queue will bring it again");
        }
        match self.database.notifications().renew(claims).await {
            Ok(()) => Ok(()),
            Err(Error::LostClaim) => Err(RenewalError::Lost),
            Err(error) => {
                tracing::warn!(%error, "cannot renew a claim");
                Err(RenewalError::Unavailable)
            }
        }
    }

    /// Writes what came of it, again and again while the database is away: the lease ends the attempts.
    async fn write(&self, claims: &[NotificationClaim], verdict: &Verdict) {
        const PAUSE: Duration = Duration::from_millis(250);
        let (outcome, channel) = (verdict.outcome(), self.channel.as_str());
        let notification = claims.first().map_or(0, |claim| claim.id);
        let (begun, lease) = (Instant::now(), self.settings.lease);
        while begun.elapsed() < lease {
            match self.try_write(claims, verdict).await {
                Ok(()) => {
                    tracing::debug!(notification, channel, ?verdict, "told");
                    metrics::counter!("notifier_notifications_total", "channel" => channel, "outcome" => outcome)
                        .increment(claims.len() as u64);
                    return;
                }
                Err(error) if error.is_unavailable() => {
                    tracing::warn!(notification, channel, outcome, %error, "cannot write what was told; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    tracing::warn!(notification, channel, outcome, %error, "what was told was not written");
                    return;
                }
            }
        }
    }

    async fn try_write(&self, claims: &[NotificationClaim], verdict: &Verdict) -> Result<(), Error> {
        let notifications = self.database.notifications();
        match verdict {
            Verdict::Sent => notifications.sent(claims).await,
            Verdict::Failed(reason) => notifications.fail(claims, reason).await,
            Verdict::Again { delay, why } => notifications.retry(claims, *delay, why).await,
            Verdict::Wait { delay, why } => notifications.wait(claims, *delay, why).await,
            Verdict::Later(delay) => notifications.postpone(claims, *delay).await,
            Verdict::Closed => match claims.first() {
                Some(claim) => notifications.disable(claim).await,
                None => Ok(()),
            },
        }
    }
}

async fn settle(delivery: Delivery, left: Left) {
    let settled = match left {
        Left::Nothing => delivery.finish().await,
        Left::Again(delay) => delivery.requeue(delay).await,
    };
    if let Err(error) = settled {
        // The queue brings it again; the database then says what is left to do.
        tracing::debug!(%error, "a message could not be answered");
    }
}
