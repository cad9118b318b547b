//! When a circuit opens, for how long, and what opens its door again.

use std::time::Duration;

use super::Span;

/// When a circuit opens, for how long, and what opens its door again.
///
/// Any of the three triggers may be on, together or alone; by default only the failures in a row are. They act
/// at any traffic and at any number of endpoints. A rate acts where failures are mixed with successes: give it
/// enough calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Failures in a row that open the circuit; 5. 0 turns this off.
    pub consecutive_failures: u32,
    /// The part of failed calls that opens the circuit; off.
    pub failure_rate: Option<Rate>,
    /// The part of slow calls that opens the circuit; off.
    pub slow_calls: Option<SlowCalls>,
    /// The length of the first break, 1 s; each further one is twice as long, until the circuit has stayed closed
    /// for as long as the last break was.
    pub open_first: Duration,
    /// The length that no break exceeds, 60 s.
    pub open_longest: Duration,
    /// The part by which a break may be shorter or longer, 0 to 1; 0.2.
    pub open_jitter: f64,
    /// The longest time that a server may ask to be left alone for, 10 min. Below it, the circuit opens for
    /// exactly as long as the server says.
    pub pushback_longest: Duration,
    /// How long the one call of a half-open circuit holds its slot, 30 s. After that the slot goes to another
    /// call, and the first one's result no longer decides.
    pub trial_longest: Duration,
    /// What lets a call in again.
    pub door: Door,
}

/// A part of the calls of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The part of bad calls that is too much: above 0, up to 1. It opens the circuit when it is reached.
    pub threshold: f64,
    /// As long as the window holds fewer calls, it says nothing; at least 1. More calls than a window of calls
    /// holds are taken as its size.
    pub minimum_calls: u32,
    /// Over what the rate is taken.
    pub over: Span,
}

/// When slow calls are too many. Calls that succeed and calls that fail are counted; overload and calls that say
/// nothing are not. A call lasts until its verdict, so a stream until its end: a service of long streams is no case
/// for this.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowCalls {
    /// A call that takes longer is slow.
    pub slower_than: Duration,
    /// The part of slow calls that is too much.
    pub rate: Rate,
}

/// What lets a call into an open circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The end of the break: the next call after it is let in.
    Timer,
    /// A passing probe, and nothing else: somebody has to ask, and to tell
    /// [`Breaker::probe_passed`](super::Breaker::probe_passed). It cuts the break short; while probes fail, breaks
    /// follow one another.
    ///
    /// A probe that passed before a real call failed all the same is believed again only when it has failed in
    /// between, or when the break is over. So a health check that lies costs one call a break, not one a probe.
    /// A break that the server asked for is not cut short.
    Probe,
}

// === impl Policy ===

impl Policy {
    /// Whether the state machine has to know the time of every call: a rate over a time, or slow calls.
    pub(super) fn needs_clock(&self) -> bool {
        let over_time = |rate: Rate| matches!(rate.over, Span::Time(_));
        self.slow_calls.is_some() || self.failure_rate.is_some_and(over_time)
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_rate: None,
            slow_calls: None,
            open_first: Duration::from_secs(1),
            open_longest: Duration::from_secs(60),
            open_jitter: 0.2,
            pushback_longest: Duration::from_secs(600),
            trial_longest: Duration::from_secs(30),
            door: Door::Timer,
        }
    }
}

// === impl Rate ===

impl Rate {
    /// The fewest calls by which this rate opens a circuit.
    pub(super) fn enough_calls(&self) -> u32 {
        let minimum = self.minimum_calls.max(1);
        match self.over {
            Span::Calls(size) => minimum.min(size.max(1)),
            Span::Time(_) => minimum,
        }
    }
}
