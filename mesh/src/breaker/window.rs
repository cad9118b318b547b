//! Windows that slide over the last calls, or over the last while. The time is handed in.

use std::time::Duration;

use tokio::time::Instant;

/// Over what a rate is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The last so many calls; at least 1. Each call that comes in pushes the oldest one out.
    Calls(u32),
    /// The last while. It is kept in ten parts, so at any moment it covers between nine tenths and the whole of
    /// this time.
    Time(Duration),
}

/// Counts calls and the bad ones among them over a [`Span`].
#[derive(Clone, Debug)]
pub(super) struct Window {
    kept: Kept,
    total: Tally,
}

#[derive(Clone, Debug)]
enum Kept {
    /// A ring of the last calls' results.
    Calls { ring: Box<[bool]>, next: usize },
    /// A ring of tallies, one for each part of the time.
    Time {
        parts: [Tally; PARTS],
        part_nanos: u64,
        /// When part 0 began.
        origin: Instant,
        /// The number of the newest part, counted from `origin`.
        newest: u64,
    },
}

/// How many calls there were, and how many of them were bad.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) calls: u32,
    pub(super) bad: u32,
}

const PARTS: usize = 10;

// === impl Window ===

impl Window {
    pub(super) fn new(span: Span, now: Instant) -> Self {
        let kept = match span {
            Span::Calls(calls) => Kept::Calls {
                ring: vec![false; calls.max(1) as usize].into_boxed_slice(),
                next: 0,
            },
            Span::Time(time) => Kept::Time {
                parts: [Tally::default(); PARTS],
                part_nanos: nanos(time / PARTS as u32).max(1),
                origin: now,
                newest: 0,
            },
        };
        Self {
            kept,
            total: Tally::default(),
        }
    }

    /// Counts a call that ended now.
    pub(super) fn record(&mut self, bad: bool, now: Instant) {
        self.slide(now);
        match &mut self.kept {
            Kept::Calls { ring, next } => {
                if self.total.calls as usize == ring.len() {
                    self.total.remove(Tally::of(ring[*next]));
                }
                ring[*next] = bad;
                *next = (*next + 1) % ring.len();
            }
            Kept::Time { parts, newest, .. } => parts[place(*newest)].add(Tally::of(bad)),
        }
        self.total.add(Tally::of(bad));
    }

    /// What the window holds at this moment.
    pub(super) fn tally(&mut self, now: Instant) -> Tally {
        self.slide(now);
        self.total
    }

    /// Forgets every call.
    pub(super) fn clear(&mut self) {
        self.total = Tally::default();
        match &mut self.kept {
            Kept::Calls { next, .. } => *next = 0,
            Kept::Time { parts, .. } => *parts = [Tally::default(); PARTS],
        }
    }

    /// Lets go of the parts of the time that have passed. A window of calls slides as they come.
    fn slide(&mut self, now: Instant) {
        let Kept::Time {
            parts,
            part_nanos,
            origin,
            newest,
        } = &mut self.kept
        else {
            return;
        };
        let current = nanos(now.saturating_duration_since(*origin)) / *part_nanos;
        // Of two threads that read the clock, the later one may come first.
        let passed = current.saturating_sub(*newest);
        for step in 1..=passed.min(PARTS as u64) {
            let part = &mut parts[place(*newest + step)];
            self.total.remove(std::mem::take(part));
        }
        *newest += passed;
    }
}

/// Where in the ring a part lies.
fn place(part: u64) -> usize {
    (part % PARTS as u64) as usize
}

/// 584 years fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

// === impl Tally ===

impl Tally {
    fn of(bad: bool) -> Self {
        Self {
            calls: 1,
            bad: u32::from(bad),
        }
    }

    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.bad = self.bad.saturating_add(other.bad);
    }

    fn remove(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.bad = self.bad.saturating_sub(other.bad);
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
