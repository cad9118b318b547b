use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::allocator;

/// Bytes that may be taken by decoded pictures at once, shared by the workers.
///
/// A picture that needs more than the whole budget is let in when it is alone: the limits of the library
/// bound it.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    total: u64,
    free: Mutex<u64>,
    freed: Condvar,
}

/// A share of the budget, given back when dropped: after the picture that it is for.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    bytes: u64,
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(total: u64) -> Self {
        Self {
            shared: Arc::new(Shared {
                total,
                free: Mutex::new(total),
                freed: Condvar::new(),
            }),
        }
    }

    /// Waits for a share, blocking the thread. A thread that holds a share must not ask for another.
    pub(crate) fn take(&self, bytes: u64) -> Share {
        let bytes = bytes.min(self.shared.total);
        let free = self.shared.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self
            .shared
            .freed
            .wait_while(free, |free| *free < bytes)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= bytes;
        Share {
            budget: self.clone(),
            bytes,
        }
    }
}

// === impl Share ===

impl Drop for Share {
    fn drop(&mut self) {
        // Before anybody else is let in.
        allocator::give_back_after(self.bytes);
        let shared = &self.budget.shared;
        *shared.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        shared.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_finds_the_budget_taken_waits_until_a_share_comes_back() {
        let budget = Budget::new(100);
        let first = budget.take(60);
        let small = budget.take(40);
        let (sender, receiver) = mpsc::channel();
        let waiting = budget.clone();
        let thread = std::thread::spawn(move || {
            let _share = waiting.take(50);
            sender.send(()).unwrap();
        });
        drop(small);
        assert_eq!(*budget.shared.free.lock().unwrap(), 40);
        assert!(receiver.try_recv().is_err());
        drop(first);
        receiver.recv_timeout(Duration::from_secs(10)).unwrap();
        thread.join().unwrap();
    }

    #[test]
    fn what_is_larger_than_the_budget_is_let_in_alone() {
        let budget = Budget::new(100);
        let share = budget.take(1000);
        assert_eq!(*budget.shared.free.lock().unwrap(), 0);
        drop(share);
        assert_eq!(*budget.shared.free.lock().unwrap(), 100);
    }
}
