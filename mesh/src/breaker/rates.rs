//! Soft evidence: the rates of failing and of slow calls over their windows.

use tokio::time::Instant;

use super::window::Window;
use super::{OpenedBy, Outcome, Policy, Rate, Report, SlowCalls};

/// The windows that a policy asks for; none, by default.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    failing: Option<(Rate, Window)>,
    slow: Option<(SlowCalls, Window)>,
}

// === impl Rates ===

impl Rates {
    pub(super) fn new(policy: &Policy, now: Instant) -> Self {
        Self {
            failing: policy
                .failure_rate
                .map(|rate| (rate, Window::new(rate.over, now))),
            slow: policy
                .slow_calls
                .map(|slow| (slow, Window::new(slow.rate.over, now))),
        }
    }

    /// Whether there is a window that wants to see every call.
    pub(super) fn want_calls(&self) -> bool {
        self.failing.is_some() || self.slow.is_some()
    }

    /// Counts a call, and says which rate is too high with it.
    pub(super) fn record(&mut self, report: Report, now: Instant) -> Option<OpenedBy> {
        let failed = match report.outcome {
            Outcome::Success => false,
            Outcome::Failure => true,
            Outcome::Overload | Outcome::Ignored => return None,
        };
        let mut evidence = None;
        if let Some((slow, window)) = &mut self.slow
            && let Some(took) = report.took
        {
            window.record(took > slow.slower_than, now);
            if let Some((slow_calls, calls)) = slow.rate.is_reached(window, now) {
                evidence = Some(OpenedBy::SlowCalls {
                    slow: slow_calls,
                    calls,
                    slower_than: slow.slower_than,
                    over: slow.rate.over,
                });
            }
        }
        // Told rather than slowness, where both are too much.
        if let Some((rate, window)) = &mut self.failing {
            window.record(failed, now);
            if let Some((failed, calls)) = rate.is_reached(window, now) {
                evidence = Some(OpenedBy::FailureRate {
                    failed,
                    calls,
                    over: rate.over,
                });
            }
        }
        evidence
    }

    /// Begins every window anew.
    pub(super) fn clear(&mut self) {
        if let Some((_, window)) = &mut self.failing {
            window.clear();
        }
        if let Some((_, window)) = &mut self.slow {
            window.clear();
        }
    }
}

// === impl Rate ===

impl Rate {
    /// The bad calls and all calls of the window, where they are too many.
    fn is_reached(&self, window: &mut Window, now: Instant) -> Option<(u32, u32)> {
        let tally = window.tally(now);
        // Without a bad call there is no evidence, whatever the threshold.
        let enough = tally.calls >= self.enough_calls() && tally.bad > 0;
        let reached = f64::from(tally.bad) >= self.threshold * f64::from(tally.calls);
        (enough && reached).then_some((tally.bad, tally.calls))
    }
}
