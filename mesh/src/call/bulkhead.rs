//! The limit of calls in flight and in wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds the calls of one target, so that a slow one takes neither all memory nor all tasks of its caller.
#[derive(Clone, Debug)]
pub(crate) struct Bulkhead {
    slots: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    in_flight: usize,
    in_wait: usize,
}

/// The right to be in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
}

/// As many calls are in flight and in wait as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) in_flight: usize,
    pub(crate) in_wait: usize,
}

/// Counts one that waits, for as long as it does.
struct Waiting(Arc<AtomicUsize>);

// === impl Bulkhead ===

impl Bulkhead {
    pub(crate) fn new(in_flight: usize, in_wait: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(in_flight.min(Semaphore::MAX_PERMITS))),
            waiting: Arc::default(),
            in_flight,
            in_wait,
        }
    }

    /// A slot, if there is one.
    pub(crate) fn try_enter(&self) -> Option<Slot> {
        let permit = self.slots.clone().try_acquire_owned().ok()?;
        Some(Slot { _permit: permit })
    }

    /// Waits for a slot, first come first served. Cancel safe.
    ///
    /// # Errors
    /// Too many wait already.
    pub(crate) async fn enter(&self) -> Result<Slot, Full> {
        let full = Full {
            in_flight: self.in_flight,
            in_wait: self.in_wait,
        };
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(self.waiting.clone());
        if before >= self.in_wait {
            return Err(full);
        }
        // The semaphore is never closed.
        let permit = self.slots.clone().acquire_owned().await.map_err(|_| full)?;
        Ok(Slot { _permit: permit })
    }

    /// Whether a call would have to wait now.
    pub(crate) fn is_full(&self) -> bool {
        self.slots.available_permits() == 0
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    #[tokio::test]
    async fn calls_beyond_the_limit_wait_and_those_beyond_the_queue_are_refused() {
        let bulkhead = Bulkhead::new(1, 1);
        let first = bulkhead.try_enter().unwrap();
        assert!(bulkhead.try_enter().is_none());
        let mut second = task::spawn(bulkhead.enter());
        assert_pending!(second.poll());
        assert_eq!(
            assert_ready!(task::spawn(bulkhead.enter()).poll()).unwrap_err(),
            Full {
                in_flight: 1,
                in_wait: 1
            }
        );
        drop(first);
        assert!(second.is_woken());
        let _slot = assert_ready!(second.poll()).unwrap();
        assert_eq!(bulkhead.waiting(), 0);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_its_place_in_the_queue() {
        let bulkhead = Bulkhead::new(1, 1);
        let _first = bulkhead.try_enter().unwrap();
        let mut second = task::spawn(bulkhead.enter());
        assert_pending!(second.poll());
        drop(second);
        assert_eq!(bulkhead.waiting(), 0);
        assert_pending!(task::spawn(bulkhead.enter()).poll());
    }
}
