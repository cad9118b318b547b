//! Which of several nsqds is next.

/// Keeps to one nsqd until it fails, then goes round.
#[derive(Debug)]
pub(super) struct Rotation {
    nsqds: usize,
    current: usize,
    /// Failures in a row, of any nsqd.
    failures: usize,
}

// === impl Rotation ===

impl Rotation {
    pub(super) fn new(nsqds: usize) -> Self {
        Self {
            nsqds,
            current: 0,
            failures: 0,
        }
    }

    pub(super) fn current(&self) -> usize {
        self.current
    }

    /// The current one did what it is there for.
    pub(super) fn worked(&mut self) {
        self.failures = 0;
    }

    /// The current one failed: goes on to the next. `true` when all have failed in a row, so that it is time
    /// to wait before the next round.
    pub(super) fn failed(&mut self) -> bool {
        self.current = (self.current + 1) % self.nsqds;
        self.failures += 1;
        self.failures.is_multiple_of(self.nsqds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_works_is_kept_and_the_next_is_tried_at_once_when_it_fails() {
        let mut rotation = Rotation::new(3);
        assert_eq!(rotation.current(), 0);
        rotation.worked();
        assert_eq!(rotation.current(), 0);
        assert!(!rotation.failed());
        assert_eq!(rotation.current(), 1);
        rotation.worked();
        assert!(!rotation.failed());
        assert!(!rotation.failed());
        assert_eq!(rotation.current(), 0);
    }

    #[test]
    fn there_is_a_pause_after_each_round_of_failures() {
        let mut rotation = Rotation::new(2);
        let pauses = (0..6).map(|_| rotation.failed());
        assert_eq!(
            pauses.collect::<Vec<_>>(),
            [false, true, false, true, false, true]
        );
        let mut alone = Rotation::new(1);
        assert!(alone.failed() && alone.failed());
    }
}
