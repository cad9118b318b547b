//! A message that was taken from the table, and the way back for those nobody answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use safelight_database::{EmbeddedMessage, EmbeddedQueue};
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::error::QueueError;

/// A message under a lease.
#[derive(Debug)]
pub(crate) struct HeldMessage {
    message: EmbeddedMessage,
    body: Bytes,
    taken: Instant,
    lease: Duration,
    returns: Returns,
    answered: bool,
    _slot: OwnedSemaphorePermit,
}

/// Puts back what is dropped unanswered. Its task ends when nobody holds a message any more.
#[derive(Debug, Clone)]
pub(super) struct Returns {
    sender: mpsc::UnboundedSender<EmbeddedMessage>,
    table: EmbeddedQueue,
    wakeup: Arc<Notify>,
}

// === impl HeldMessage ===

impl HeldMessage {
    /// `asked` is when the message was asked for: its lease began no earlier.
    pub(super) fn new(
        mut message: EmbeddedMessage,
        asked: Instant,
        lease: Duration,
        returns: Returns,
        slot: OwnedSemaphorePermit,
    ) -> Self {
        let body = std::mem::take(&mut message.body).into();
        Self {
            message,
            body,
            taken: asked,
            lease,
            returns,
            answered: false,
            _slot: slot,
        }
    }

    pub(crate) fn body(&self) -> &Bytes {
        &self.body
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.message.attempts
    }

    pub(crate) async fn finish(mut self) -> Result<(), QueueError> {
        let finished = self
            .returns
            .table
            .finish(self.message.id, self.message.token)
            .await;
        // Also after an error: then it was finished all the same, or its lease ends.
        self.answered = true;
        finished.map_err(QueueError::of_database)
    }

    pub(crate) async fn requeue(mut self, delay: Duration) -> Result<(), QueueError> {
        let requeued = self
            .returns
            .table
            .requeue(self.message.id, self.message.token, delay)
            .await;
        self.answered = true;
        // Somebody may be waiting for a later moment than this message's.
        self.returns.wakeup.notify_waiters();
        requeued.map_err(QueueError::of_database)
    }

    pub(crate) async fn touch(&self) -> Result<(), QueueError> {
        let touched = self
            .returns
            .table
            .touch(self.message.id, self.message.token, self.lease)
            .await;
        touched.map_err(QueueError::of_database)
    }

    /// Whether somebody else may have it by now, if it was not touched.
    pub(super) fn is_expired(&self) -> bool {
        self.taken.elapsed() >= self.lease
    }

    /// Drops the message and leaves it to its lease.
    pub(super) fn forget(mut self) {
        self.answered = true;
    }
}

impl Drop for HeldMessage {
    fn drop(&mut self) {
        if !self.answered {
            self.returns.put_back(self.message.clone());
        }
    }
}

// === impl Returns ===

impl Returns {
    pub(super) fn start(table: EmbeddedQueue, wakeup: Arc<Notify>) -> Self {
        let (sender, mut dropped) = mpsc::unbounded_channel::<EmbeddedMessage>();
        let (to, bell) = (table.clone(), wakeup.clone());
        tokio::spawn(async move {
            while let Some(message) = dropped.recv().await {
                if let Err(error) = to.requeue(message.id, message.token, Duration::ZERO).await {
                    tracing::warn!(%error, "a dropped message waits for its lease to end");
                }
                bell.notify_waiters();
            }
        });
        Self {
            sender,
            table,
            wakeup,
        }
    }

    fn put_back(&self, message: EmbeddedMessage) {
        // The task only ends before this when the runtime does; then the lease ends.
        let _ = self.sender.send(message);
    }
}
