//! The one source of randomness: of picks and of jitter.
//!
//! Each thread has its own, seeded by the system. Nothing here is a secret, so it is a quick one.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

thread_local! {
    static SOURCE: RefCell<SmallRng> = RefCell::new(rand::make_rng());
}

/// Makes all that this thread draws from now on follow from a number.
pub fn seed(seed: u64) {
    SOURCE.set(SmallRng::seed_from_u64(seed));
}

/// A number from 0 to `end`, which is not among them and is at least 1.
pub(crate) fn below(end: usize) -> usize {
    debug_assert!(end > 0);
    SOURCE.with_borrow_mut(|source| source.random_range(0..end))
}

/// A number from a range, both ends among them.
pub(crate) fn within(range: RangeInclusive<f64>) -> f64 {
    SOURCE.with_borrow_mut(|source| source.random_range(range))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn draws() -> (Vec<usize>, Vec<f64>) {
        let numbers = (0..20).map(|_| below(1_000)).collect();
        (numbers, (0..20).map(|_| within(0.0..=1.0)).collect())
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        seed(7);
        let first = draws();
        seed(7);
        assert_eq!(draws(), first);
        seed(8);
        assert_ne!(draws(), first);
    }

    #[test]
    fn threads_that_are_not_seeded_draw_different_numbers() {
        let other = std::thread::spawn(draws).join().unwrap();
        assert_ne!(draws(), other);
    }

    #[test]
    fn what_is_drawn_stays_within_its_range() {
        for _ in 0..200 {
            assert!(below(3) < 3);
            assert!((0.8..=1.2).contains(&within(0.8..=1.2)));
        }
        assert_eq!(within(1.0..=1.0), 1.0);
    }
}
