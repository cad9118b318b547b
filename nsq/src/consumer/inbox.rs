//! Messages that have arrived and wait for the handler.
//!
//! The connections' tasks put messages in without ever waiting. That is safe, as nsqd sends no more than
//! its RDY allows, and what has passed its deadline here, so that nsqd sends it again, is thrown out.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

use super::message::Message;
use super::stats::Counters;

/// Many connections put in, one reader takes out.
#[derive(Default)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    reader: AtomicWaker,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Message>,
    closed: bool,
}

// === impl Inbox ===

impl Inbox {
    /// Adds a message, and gives back how many were thrown out because their deadline had passed.
    pub(super) fn push(&self, message: Message) -> usize {
        let mut queue = self.lock();
        let expired = queue.take_expired();
        queue.messages.push_back(message);
        drop(queue);
        let thrown_out = expired.len();
        expired.into_iter().for_each(Message::forget);
        self.reader.wake();
        thrown_out
    }

    /// The next message whose deadline has not passed; `None` once closed.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>, counters: &Counters) -> Poll<Option<Message>> {
        // Registered before looking, so that what is put in after the look wakes us.
        self.reader.register(cx.waker());
        let mut queue = self.lock();
        if queue.closed {
            return Poll::Ready(None);
        }
        let expired = queue.take_expired();
        let next = queue.messages.pop_front();
        drop(queue);
        counters
            .expired
            .fetch_add(expired.len() as u64, Ordering::Relaxed);
        expired.into_iter().for_each(Message::forget);
        next.map_or(Poll::Pending, |message| Poll::Ready(Some(message)))
    }

    /// Takes out what one connection brought.
    pub(super) fn take_from(&self, generation: u64) -> VecDeque<Message> {
        let mut queue = self.lock();
        let all = std::mem::take(&mut queue.messages);
        let (taken, kept) = all
            .into_iter()
            .partition(|message| message.generation() == generation);
        queue.messages = kept;
        taken
    }

    /// Hands out no more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.reader.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing under the lock can panic half-way.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Queue ===

impl Queue {
    /// All messages of a consumer get about the same time, so those that expire first are in front.
    fn take_expired(&mut self) -> Vec<Message> {
        let mut expired = Vec::new();
        while self.messages.front().is_some_and(Message::is_expired) {
            expired.extend(self.messages.pop_front());
        }
        expired
    }
}
