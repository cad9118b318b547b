//! One publish on its way: what is sent, where it stands, and who waits for the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::command::Command;
use crate::error::{NotSent, PublishError};

/// Not written to the connection yet; whoever waits may still withdraw it.
const QUEUED: u8 = 0;
/// Written, at least in part.
const SENT: u8 = 1;
/// Nobody waits for it any more. If it was queued, it is not sent.
const WITHDRAWN: u8 = 2;

/// Limits what is unanswered, by count and by bytes.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    count: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// Told when a queued request is withdrawn, so that the task gives its place to another.
    withdrawn: Arc<Notify>,
}

/// The right to be unanswered; given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    _count: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    withdrawn: Arc<Notify>,
}

#[derive(Debug)]
pub(super) struct Request {
    command: Command,
    stage: Arc<AtomicU8>,
    answer: oneshot::Sender<Result<(), PublishError>>,
    _place: Place,
}

/// The waiting side. Dropping it withdraws the request.
#[derive(Debug)]
pub(super) struct Answer {
    stage: Arc<AtomicU8>,
    answer: oneshot::Receiver<Result<(), PublishError>>,
    withdrawn: Arc<Notify>,
}

// === impl Bounds ===

impl Bounds {
    /// Whether a limit can be counted.
    pub(super) fn fit(limit: usize) -> bool {
        (1..u32::MAX as usize / 8).contains(&limit)
    }

    pub(super) fn new(count: usize, bytes: usize) -> Self {
        Self {
            count: Arc::new(Semaphore::new(count)),
            bytes: Arc::new(Semaphore::new(bytes)),
            withdrawn: Arc::new(Notify::new()),
        }
    }

    /// Waits for room, first come, first served. Cancel safe.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<Place, NotSent> {
        // No request is larger than the limit of bytes, and that fits (see `fit`).
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        // The semaphores are never closed.
        let count = self
            .count
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| NotSent::Closed)?;
        let bytes = self
            .bytes
            .clone()
            .acquire_many_owned(bytes)
            .await
            .map_err(|_| NotSent::Closed)?;
        Ok(Place {
            _count: count,
            _bytes: bytes,
            withdrawn: self.withdrawn.clone(),
        })
    }

    /// Completes when a queued request has been withdrawn since the last call. Cancel safe.
    pub(super) async fn withdrawn(&self) {
        self.withdrawn.notified().await;
    }
}

// === impl Request ===

impl Request {
    pub(super) fn new(command: Command, place: Place) -> (Self, Answer) {
        let stage = Arc::new(AtomicU8::new(QUEUED));
        let (sender, receiver) = oneshot::channel();
        let answer = Answer {
            stage: stage.clone(),
            answer: receiver,
            withdrawn: place.withdrawn.clone(),
        };
        (
            Self {
                command,
                stage,
                answer: sender,
                _place: place,
            },
            answer,
        )
    }

    /// Marks it as sent and gives what to send, or `None` if it was withdrawn.
    pub(super) fn begin(&self) -> Option<Command> {
        let change = self
            .stage
            .compare_exchange(QUEUED, SENT, Ordering::AcqRel, Ordering::Acquire);
        change.ok().map(|_| self.command.clone())
    }

    /// Marks it as not sent after all: it certainly never reached nsqd, or nsqd never looked at it.
    /// `false` if nobody waits for it any more.
    pub(super) fn take_back(&self) -> bool {
        self.stage
            .compare_exchange(SENT, QUEUED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    pub(super) fn is_withdrawn(&self) -> bool {
        self.stage.load(Ordering::Acquire) == WITHDRAWN
    }

    pub(super) fn resolve(self, result: Result<(), PublishError>) {
        // Nobody may be waiting any more.
        let _ = self.answer.send(result);
    }
}

// === impl Answer ===

impl Answer {
    /// Cancel safe.
    pub(super) async fn wait(&mut self) -> Result<(), PublishError> {
        match (&mut self.answer).await {
            Ok(result) => result,
            // The task ended without an answer: the runtime is shutting down.
            Err(_) => Err(NotSent::Closed.into()),
        }
    }

    /// Gives up waiting; `true` if the request was not sent and never will be.
    pub(super) fn withdraw(&self) -> bool {
        let before = self.stage.swap(WITHDRAWN, Ordering::AcqRel);
        if before == QUEUED {
            self.withdrawn.notify_one();
        }
        before == QUEUED
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.withdraw();
    }
}
