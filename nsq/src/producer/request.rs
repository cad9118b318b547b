//! One publish on its way: what is sent, where it stands, and who waits for the answer.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use tokio::sync::{Notify, Semaphore};

use super::limits::Limits;
use crate::command::{Command, batch_len};
use crate::error::{ConnectionError, InvalidMessage, NotSent, PublishError};
use crate::name::Topic;

/// Not written to the connection yet; whoever waits may still withdraw it.
const QUEUED: u8 = 0;
/// Written, at least in part.
const SENT: u8 = 1;
/// Nobody waits for it any more. If it was queued, it is not sent.
const WITHDRAWN: u8 = 2;

/// Limits what is unanswered, by count and by bytes.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    room: Arc<Room>,
}

#[derive(Debug)]
struct Room {
    count: Semaphore,
    bytes: Semaphore,
    /// Told when a queued request is withdrawn, so that the task gives its place to another.
    withdrawn: Notify,
}

/// The right to be unanswered; given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    bytes: u32,
}

/// What is to be sent.
#[derive(Debug)]
pub(super) enum Payload {
    Publish {
        topic: Topic,
        body: Bytes,
    },
    Deferred {
        topic: Topic,
        body: Bytes,
        delay: Duration,
    },
    /// An MPUB, written out by whoever publishes it, so that the connection's task has little to do.
    Batch {
        encoded: Arc<[Bytes]>,
        messages: usize,
        largest: usize,
        size: usize,
    },
}

#[derive(Debug)]
pub(super) struct Request {
    payload: Payload,
    /// Sent again where it may have been stored.
    repeat_unknown: bool,
    slot: Arc<Slot>,
    _place: Place,
}

/// The waiting side. Dropping it withdraws the request.
#[derive(Debug)]
pub(super) struct Answer {
    slot: Arc<Slot>,
    room: Arc<Room>,
}

/// Where both sides meet.
#[derive(Debug)]
struct Slot {
    stage: AtomicU8,
    outcome: Mutex<Option<Result<(), PublishError>>>,
    waiting: AtomicWaker,
    /// Why it may be stored already, where it was sent before and is to be sent again: from then on, nothing that
    /// becomes of it can say that it is not.
    doubt: OnceLock<ConnectionError>,
}

// === impl Bounds ===

impl Bounds {
    /// Whether a limit can be counted.
    pub(super) fn fit(limit: usize) -> bool {
        (1..u32::MAX as usize / 8).contains(&limit)
    }

    pub(super) fn new(count: usize, bytes: usize) -> Self {
        Self {
            room: Arc::new(Room {
                count: Semaphore::new(count),
                bytes: Semaphore::new(bytes),
                withdrawn: Notify::new(),
            }),
        }
    }

    /// A place, where there is room now.
    pub(super) fn try_reserve(&self, bytes: usize) -> Option<Place> {
        let bytes = countable(bytes);
        let one = self.room.count.try_acquire().ok()?;
        let many = self.room.bytes.try_acquire_many(bytes).ok()?;
        // Both are given back by the place from now on.
        one.forget();
        many.forget();
        Some(self.place(bytes))
    }

    /// Waits for room, first come, first served. Cancel safe.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<Place, NotSent> {
        let bytes = countable(bytes);
        // The semaphores are never closed.
        let one = self.room.count.acquire().await.map_err(|_| NotSent::Closed)?;
        let many = self.room.bytes.acquire_many(bytes).await;
        let many = many.map_err(|_| NotSent::Closed)?;
        one.forget();
        many.forget();
        Ok(self.place(bytes))
    }

    /// Completes when a queued request has been withdrawn since the last call. Cancel safe.
    pub(super) async fn withdrawn(&self) {
        self.room.withdrawn.notified().await;
    }

    fn place(&self, bytes: u32) -> Place {
        Place {
            room: self.room.clone(),
            bytes,
        }
    }
}

/// No request is larger than the limit of bytes, and that fits (see [`Bounds::fit`]).
fn countable(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.room.count.add_permits(1);
        self.room.bytes.add_permits(self.bytes as usize);
    }
}

// === impl Payload ===

impl Payload {
    /// What of it counts towards the bytes pending.
    pub(super) fn size(&self) -> usize {
        match self {
            Payload::Publish { body, .. } | Payload::Deferred { body, .. } => body.len(),
            Payload::Batch { size, .. } => *size,
        }
    }

    fn messages(&self) -> u64 {
        match self {
            Payload::Publish { .. } | Payload::Deferred { .. } => 1,
            Payload::Batch { messages, .. } => *messages as u64,
        }
    }

    fn check(&self, limits: &Limits) -> Result<(), InvalidMessage> {
        match self {
            Payload::Publish { body, .. } => limits.check_message(body.len()),
            Payload::Deferred { body, delay, .. } => {
                limits.check_delay(*delay)?;
                limits.check_message(body.len())
            }
            Payload::Batch { largest, size, .. } => {
                limits.check_message(*largest)?;
                let (size, limit) = (*size, limits.body());
                if size > limit {
                    return Err(InvalidMessage::BatchTooLarge { size, limit });
                }
                Ok(())
            }
        }
    }

    fn command(&self) -> Command {
        match self {
            Payload::Publish { topic, body } => Command::Publish {
                topic: topic.clone(),
                body: body.clone(),
            },
            Payload::Deferred { topic, body, delay } => Command::PublishDeferred {
                topic: topic.clone(),
                body: body.clone(),
                delay: *delay,
            },
            Payload::Batch { encoded, .. } => Command::Encoded(encoded.clone()),
        }
    }
}

// === impl Request ===

impl Request {
    pub(super) fn new(payload: Payload, repeat_unknown: bool, place: Place) -> (Self, Answer) {
        let slot = Arc::new(Slot {
            stage: AtomicU8::new(QUEUED),
            outcome: Mutex::new(None),
            waiting: AtomicWaker::new(),
            doubt: OnceLock::new(),
        });
        let answer = Answer {
            slot: slot.clone(),
            room: place.room.clone(),
        };
        let request = Self {
            payload,
            repeat_unknown,
            slot,
            _place: place,
        };
        (request, answer)
    }

    /// Messages in it.
    pub(super) fn messages(&self) -> u64 {
        self.payload.messages()
    }

    /// The topic and the body, where it may be sent as part of a batch.
    pub(super) fn mergeable(&self) -> Option<(&Topic, &Bytes)> {
        match &self.payload {
            Payload::Publish { topic, body } => Some((topic, body)),
            Payload::Deferred { .. } | Payload::Batch { .. } => None,
        }
    }

    /// What its message adds to a batch, framing included.
    pub(super) fn merged_len(&self) -> usize {
        batch_len(1, self.payload.size()) - batch_len(0, 0)
    }

    /// Whether nsqd would take it, by what is known of its limits now.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), InvalidMessage> {
        self.payload.check(limits)
    }

    /// Marks it as sent; `false` if it was withdrawn.
    pub(super) fn begin(&self) -> bool {
        self.slot.advance(QUEUED, SENT)
    }

    /// What to send.
    pub(super) fn command(&self) -> Command {
        self.payload.command()
    }

    /// Marks it as not sent after all: it certainly never reached nsqd, or nsqd never looked at it.
    /// `false` if nobody waits for it any more.
    pub(super) fn take_back(&self) -> bool {
        self.slot.advance(SENT, QUEUED)
    }

    /// Remembers that it may have been stored by a connection that ended so.
    pub(super) fn doubt(&self, lost: &ConnectionError) {
        // The first is as good as any.
        let _ = self.slot.doubt.set(lost.clone());
    }

    /// Whether it is to be sent again although it may have been stored.
    pub(super) fn repeats_unknown(&self) -> bool {
        self.repeat_unknown
    }

    pub(super) fn is_withdrawn(&self) -> bool {
        self.slot.stage.load(Ordering::Acquire) == WITHDRAWN
    }

    pub(super) fn resolve(self, result: Result<(), PublishError>) {
        self.slot.set(result);
    }
}

impl Drop for Request {
    /// Never resolved: the task was ended with the runtime.
    fn drop(&mut self) {
        if self.slot.stage.load(Ordering::Acquire) == SENT {
            self.slot.set(Err(PublishError::Unknown(ConnectionError::Closed)));
        } else {
            self.slot.set(Err(NotSent::Closed.into()));
        }
    }
}

// === impl Slot ===

impl Slot {
    fn advance(&self, from: u8, to: u8) -> bool {
        let change = self
            .stage
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        change.is_ok()
    }

    /// The first counts.
    fn set(&self, result: Result<(), PublishError>) {
        let result = result.map_err(|error| match self.doubt.get() {
            Some(lost) if !error.may_be_stored() => PublishError::Unknown(lost.clone()),
            _ => error,
        });
        // Nothing under the lock can panic half-way.
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.is_none() {
            *outcome = Some(result);
            drop(outcome);
            self.waiting.wake();
        }
    }

    /// A copy, as whoever asks may ask again.
    fn get(&self) -> Option<Result<(), PublishError>> {
        self.outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

// === impl Answer ===

impl Answer {
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), PublishError>> {
        // Registered before looking, so that what is set after the look wakes us.
        self.slot.waiting.register(cx.waker());
        self.slot.get().map_or(Poll::Pending, Poll::Ready)
    }

    /// What came in the meantime, without waiting.
    pub(super) fn outcome(&self) -> Option<Result<(), PublishError>> {
        self.slot.get()
    }

    /// Why it may be stored though it waits to be sent.
    pub(super) fn doubt(&self) -> Option<PublishError> {
        self.slot.doubt.get().cloned().map(PublishError::Unknown)
    }

    /// Gives up waiting; `true` if the request waits to be sent, and never will be.
    pub(super) fn withdraw(&self) -> bool {
        let before = self.slot.stage.swap(WITHDRAWN, Ordering::AcqRel);
        if before == QUEUED {
            self.room.withdrawn.notify_one();
        }
        before == QUEUED
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.withdraw();
    }
}
