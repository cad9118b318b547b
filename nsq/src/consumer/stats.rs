//! What a consumer has done so far.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the consumer was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConsumerStats {
    /// Messages that nsqd sent.
    pub received: u64,
    /// Messages answered with FIN.
    pub finished: u64,
    /// Messages answered with REQ, those dropped unanswered included.
    pub requeued: u64,
    /// Messages whose deadline passed before the handler asked for them; they were not handed out.
    pub expired: u64,
    /// Answers and touches that came after the deadline: nsqd refused them, or they were held back here because the
    /// message had come again.
    pub refused_answers: u64,
    /// Touches sent, those of `run` included.
    pub touched: u64,
    /// Messages whose handler failed in [`Consumer::run`](crate::Consumer::run), panics included.
    pub failed: u64,
    /// Messages whose handler panicked in `run`.
    pub panicked: u64,
    /// Messages that `run` gave up, with its dead-letter hook succeeding.
    pub dead_lettered: u64,
    /// Connections lost, and connects failed.
    pub connection_failures: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: AtomicU64,
    pub(super) finished: AtomicU64,
    pub(super) requeued: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) refused_answers: AtomicU64,
    pub(super) touched: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) panicked: AtomicU64,
    pub(super) dead_lettered: AtomicU64,
    pub(super) connection_failures: AtomicU64,
}

// === impl Counters ===

impl Counters {
    pub(super) fn snapshot(&self) -> ConsumerStats {
        ConsumerStats {
            received: self.received.load(Ordering::Relaxed),
            finished: self.finished.load(Ordering::Relaxed),
            requeued: self.requeued.load(Ordering::Relaxed),
            expired: self.expired.load(Ordering::Relaxed),
            refused_answers: self.refused_answers.load(Ordering::Relaxed),
            touched: self.touched.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            panicked: self.panicked.load(Ordering::Relaxed),
            dead_lettered: self.dead_lettered.load(Ordering::Relaxed),
            connection_failures: self.connection_failures.load(Ordering::Relaxed),
        }
    }
}
