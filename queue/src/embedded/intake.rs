//! The task that takes messages from the table while there are free slots.

use std::sync::Arc;
use std::time::Duration;

use async_nsq::{Channel, Topic};
use safelight_database::{EmbeddedQueue, Error};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::EmbeddedSettings;
use super::flow::Flow;
use super::held::{HeldMessage, Returns};

/// How many messages are taken in one transaction at most.
const BATCH: usize = 64;
/// The table counts in milliseconds, so what is due in none may be due in one.
const SHORTEST_WAIT: Duration = Duration::from_millis(2);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);

pub(super) struct Intake {
    pub(super) table: EmbeddedQueue,
    pub(super) settings: EmbeddedSettings,
    pub(super) returns: Returns,
    pub(super) topic: Topic,
    pub(super) channel: Channel,
    pub(super) flow: Flow,
    pub(super) wakeup: Arc<Notify>,
    /// Bounded by the slots of the flow.
    pub(super) arrivals: mpsc::UnboundedSender<HeldMessage>,
}

// === impl Intake ===

impl Intake {
    /// Runs until `end`. A transaction under way is not broken off: what it took is handed on or given
    /// back, and not left to its lease.
    pub(super) async fn run(mut self, end: CancellationToken) {
        let mut retry = FIRST_RETRY;
        while !end.is_cancelled() {
            let Some(slots) = end
                .run_until_cancelled(self.flow.free_slots(BATCH))
                .await
                .flatten()
            else {
                return;
            };
            let wakeup = self.wakeup.clone();
            let woken = wakeup.notified();
            tokio::pin!(woken);
            // From here on a publish is not missed, even one that the look below is too early for.
            woken.as_mut().enable();
            let pause = match self.take(slots).await {
                Ok(pause) => {
                    retry = FIRST_RETRY;
                    pause
                }
                Err(error) => {
                    tracing::warn!(topic = %self.topic, %error, "the queue's table cannot be read");
                    let pause = retry;
                    retry = (retry * 2).min(LONGEST_RETRY);
                    // A publish is no reason to try a database that is away sooner.
                    end.run_until_cancelled(sleep(pause)).await;
                    continue;
                }
            };
            tokio::select! {
                () = sleep(pause), if !pause.is_zero() => {}
                () = &mut woken, if !pause.is_zero() => {}
                () = end.cancelled() => {}
                () = std::future::ready(()), if pause.is_zero() => {}
            }
        }
    }

    /// Hands on what is due, and tells how long to wait before looking again.
    async fn take(&self, slots: Vec<OwnedSemaphorePermit>) -> Result<Duration, Error> {
        let asked = Instant::now();
        let limit = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let lease = self.settings.lease;
        let taken = self
            .table
            .take(self.topic.as_str(), self.channel.as_str(), limit, lease)
            .await?;
        let all_slots_used = taken.len() == slots.len();
        for (message, slot) in taken.into_iter().zip(slots) {
            let held = HeldMessage::new(message, asked, lease, self.returns.clone(), slot);
            // The subscription may be gone: then the message is given back by being dropped.
            let _ = self.arrivals.send(held);
        }
        if all_slots_used {
            return Ok(Duration::ZERO);
        }
        let due = self.table.next_due(self.topic.as_str()).await?;
        let wait = due.map_or(self.settings.poll_interval, |due| {
            due.min(self.settings.poll_interval)
        });
        Ok(wait.max(SHORTEST_WAIT))
    }
}
