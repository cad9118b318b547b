//! How many endpoints of one target may be shut out on soft evidence at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A limit that the circuits of a target's endpoints share: at most half of the endpoints, and at least one, are
/// open by soft evidence (rates) at the same time.
///
/// Rates of failing or slow calls often come from what all endpoints share, a database or the callers' own
/// requests. Without a limit such a thing would shut every endpoint out, though each still answers some calls.
/// Hard evidence, failures in a row and a server's own pushback are not limited.
///
/// Clones are the same limit.
#[derive(Clone, Debug)]
pub struct Cap {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoints: AtomicUsize,
    softly_open: AtomicUsize,
}

/// A place under the cap, given back on drop.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
}

// === impl Cap ===

impl Cap {
    /// A limit for one endpoint: one circuit may be open by soft evidence.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                endpoints: AtomicUsize::new(1),
                softly_open: AtomicUsize::new(0),
            }),
        }
    }

    /// Tells how many endpoints there are now. Circuits that are open already stay open, also where they are now
    /// more than half.
    pub fn set_endpoints(&self, endpoints: usize) {
        self.shared.endpoints.store(endpoints, Ordering::Relaxed);
    }

    /// How many circuits may be open by soft evidence at once: half of the endpoints, rounded down, and at least
    /// one.
    pub fn limit(&self) -> usize {
        (self.shared.endpoints.load(Ordering::Relaxed) / 2).max(1)
    }

    /// How many circuits are open by soft evidence now, or about to be.
    pub fn softly_open(&self) -> usize {
        self.shared.softly_open.load(Ordering::Relaxed)
    }

    /// Takes a place, before the circuit opens: of two that ask for the last one only one gets it.
    pub(super) fn reserve(&self) -> Option<Place> {
        self.shared
            .softly_open
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < self.limit()).then_some(open + 1)
            })
            .ok()?;
        Some(Place {
            shared: self.shared.clone(),
        })
    }
}

impl Default for Cap {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.softly_open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn half_of_the_endpoints_and_at_least_one_may_be_softly_open() {
        for (endpoints, limit) in [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)] {
            let cap = Cap::new();
            cap.set_endpoints(endpoints);
            let places: Vec<_> = (0..limit).map(|_| cap.reserve().unwrap()).collect();
            assert!(cap.reserve().is_none(), "{endpoints} endpoints");
            assert_eq!(cap.softly_open(), limit);
            drop(places);
            assert_eq!(cap.softly_open(), 0);
        }
    }

    #[test]
    fn a_place_that_is_given_back_is_free_for_another() {
        let cap = Cap::new();
        let place = cap.reserve().unwrap();
        assert!(cap.clone().reserve().is_none(), "a clone is the same limit");
        drop(place);
        assert!(cap.reserve().is_some());
    }

    #[test]
    fn endpoints_that_go_away_lower_the_limit_for_those_who_ask_from_then_on() {
        let cap = Cap::new();
        cap.set_endpoints(6);
        let _places: Vec<_> = (0..3).map(|_| cap.reserve().unwrap()).collect();
        cap.set_endpoints(2);
        assert!(cap.reserve().is_none());
        assert_eq!(cap.softly_open(), 3);
    }

    #[test]
    fn threads_that_reserve_at_once_never_exceed_the_limit() {
        let cap = Cap::new();
        cap.set_endpoints(4);
        let highest = AtomicUsize::new(0);
        let held = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        if let Some(place) = cap.reserve() {
                            let now = held.fetch_add(1, Ordering::SeqCst) + 1;
                            highest.fetch_max(now, Ordering::SeqCst);
                            held.fetch_sub(1, Ordering::SeqCst);
                            drop(place);
                        }
                    }
                });
            }
        });
        assert!(highest.into_inner() <= 2);
        assert_eq!(cap.softly_open(), 0);
    }
}
