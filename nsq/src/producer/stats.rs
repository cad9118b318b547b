//! What a producer has done.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a producer has done since it was started, all clones together. Numbers are of messages where
/// nothing else is said, those of a batch each counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProducerStats {
    /// Acknowledged by nsqd.
    pub acknowledged: u64,
    /// Refused by nsqd.
    pub rejected: u64,
    /// Lost from sight with a connection: stored, or not.
    pub unknown: u64,
    /// Sent again after a connection was lost: those that had not reached nsqd, and those that may have,
    /// where that was asked for.
    pub repeated: u64,
    /// Commands in which messages were sent; fewer than messages where there were batches.
    pub commands: u64,
    /// Connections made.
    pub connections: u64,
    /// Connections lost, and failures to make one.
    pub connection_failures: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) acknowledged: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) repeated: AtomicU64,
    pub(super) commands: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) connection_failures: AtomicU64,
}

// === impl Counters ===

impl Counters {
    pub(super) fn snapshot(&self) -> ProducerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProducerStats {
            acknowledged: read(&self.acknowledged),
            rejected: read(&self.rejected),
            unknown: read(&self.unknown),
            repeated: read(&self.repeated),
            commands: read(&self.commands),
            connections: read(&self.connections),
            connection_failures: read(&self.connection_failures),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
