//! The model of a circuit that the state machine is compared with.

use std::time::Duration;

use tokio::time::Instant;

use super::{SECOND, SLOW};
use crate::breaker::{CircuitState, Door, Outcome, Policy, Rate, Report, Span};

/// A second opinion: the rules told as a story of outages, without generations, without an enum of states, and
/// with windows that are lists of all calls.
pub(super) struct Model {
    policy: Policy,
    start: Instant,
    pub(super) row: u32,
    /// Calls that ended since the windows began anew: when, whether failed, and how long they took if known.
    pub(super) ended: Vec<(Instant, bool, Option<Duration>)>,
    pub(super) outage: Option<Outage>,
    /// Forced open, or forced closed.
    pub(super) forced: Option<bool>,
    /// Calls under way whose result still decides: in a closed circuit all since it closed, else the trial alone.
    deciding: Vec<u32>,
    closed_since: Instant,
    pub(super) breaks: u32,
    pub(super) last_break: Duration,
}

pub(super) struct Outage {
    pub(super) by: &'static str,
    pub(super) ends: Instant,
    /// The probe has been contradicted and not failed since.
    contradicted: bool,
    /// The server has said how long.
    wished: bool,
    /// The door is open; with the end of the trial's time where there is one.
    door: Option<Option<Instant>>,
}

impl Model {
    pub(super) fn new(policy: Policy, start: Instant) -> Self {
        Self {
            policy,
            start,
            row: 0,
            ended: Vec::new(),
            outage: None,
            forced: None,
            deciding: Vec::new(),
            closed_since: start,
            breaks: 0,
            last_break: Duration::ZERO,
        }
    }

    fn begin_outage(&mut self, by: &'static str, now: Instant) {
        if self.outage.is_none() {
            if now - self.closed_since >= self.last_break {
                self.breaks = 0;
            }
            self.ended.clear();
            self.deciding.clear();
        }
        self.outage = Some(Outage {
            by,
            ends: now,
            contradicted: false,
            wished: false,
            door: None,
        });
    }

    fn next_break(&mut self, now: Instant) {
        let Some(outage) = &mut self.outage else {
            return;
        };
        self.last_break = SECOND * 2_u32.pow(self.breaks.min(3));
        self.breaks += 1;
        (outage.ends, outage.door) = (now + self.last_break, None);
        (outage.contradicted, outage.wished) = (false, false);
        self.deciding.clear();
    }

    pub(super) fn close(&mut self, now: Instant) {
        (self.outage, self.row) = (None, 0);
        self.closed_since = now;
        self.deciding.clear();
    }

    pub(super) fn admit(&mut self, call: u32, now: Instant) -> bool {
        if self.forced == Some(true) {
            return false;
        }
        let by_timer = self.policy.door == Door::Timer;
        if let Some(outage) = &mut self.outage {
            let free = match outage.door {
                None => by_timer && now >= outage.ends,
                Some(None) => true,
                Some(Some(until)) => now >= until,
            };
            if !free {
                return false;
            }
            outage.door = Some(Some(now + 30 * SECOND));
            self.deciding.clear();
        }
        self.deciding.push(call);
        true
    }

    /// Whether the part of bad calls among those that `over` covers is too much.
    fn is_too_much(
        &self,
        rate: Rate,
        now: Instant,
        bad: impl Fn(&(Instant, bool, Option<Duration>)) -> bool,
    ) -> bool {
        let part = |at: Instant| (at - self.start).as_nanos() / 1_000_000_000;
        let calls: Vec<bool> = match rate.over {
            Span::Calls(size) => {
                let from = self.ended.len().saturating_sub(size as usize);
                self.ended[from..].iter().map(bad).collect()
            }
            // Ten parts of a second.
            Span::Time(_) => {
                let covered = self.ended.iter().filter(|call| part(call.0) + 10 > part(now));
                covered.map(bad).collect()
            }
        };
        let bad = calls.iter().filter(|bad| **bad).count();
        calls.len() >= rate.minimum_calls as usize
            && bad > 0
            && bad as f64 >= rate.threshold * calls.len() as f64
    }

    pub(super) fn settle(&mut self, call: u32, report: Report, now: Instant, room: bool) -> &'static str {
        let Some(at) = self.deciding.iter().position(|&deciding| deciding == call) else {
            return "late";
        };
        self.deciding.remove(at);
        let bad = matches!(report.outcome, Outcome::Failure | Outcome::Overload);
        let wish = report.pushback.filter(|time| bad && *time > Duration::ZERO);
        let says_something = matches!(report.outcome, Outcome::Success | Outcome::Failure);
        if self.outage.is_none() {
            match report.outcome {
                Outcome::Success => self.row = 0,
                Outcome::Failure => self.row += 1,
                Outcome::Overload | Outcome::Ignored => {}
            }
            if says_something {
                self.ended
                    .push((now, report.outcome == Outcome::Failure, report.took));
            }
            if self.forced.is_some() {
                return "counted";
            }
        }
        if let Some(wish) = wish {
            self.begin_outage("pushback", now);
            let outage = self.outage.as_mut().unwrap();
            outage.ends = now + wish.min(20 * SECOND);
            outage.wished = true;
            self.deciding.clear();
            return "counted";
        }
        if let Some(outage) = &mut self.outage {
            match report.outcome {
                Outcome::Success => self.close(now),
                Outcome::Failure => {
                    self.next_break(now);
                    self.outage.as_mut().unwrap().contradicted = true;
                }
                Outcome::Overload | Outcome::Ignored => outage.door = Some(None),
            }
            return "counted";
        }
        let limit = self.policy.consecutive_failures;
        let failing = self
            .policy
            .failure_rate
            .is_some_and(|rate| self.is_too_much(rate, now, |call| call.1));
        let slow = self
            .policy
            .slow_calls
            .is_some_and(|slow| self.is_too_much(slow.rate, now, |call| call.2.unwrap() > SLOW));
        let by = match report.outcome {
            Outcome::Failure if limit > 0 && self.row >= limit => "consecutive",
            _ if says_something && failing => "failure_rate",
            _ if says_something && slow => "slow_calls",
            _ => return "counted",
        };
        if by != "consecutive" && !room {
            self.ended.clear();
            return "withheld";
        }
        self.begin_outage(by, now);
        self.next_break(now);
        "counted"
    }

    pub(super) fn probe(&mut self, passed: bool, now: Instant) {
        if self.forced.is_some() {
            return;
        }
        let Some(outage) = &mut self.outage else {
            return;
        };
        let may_cut = !outage.contradicted && !outage.wished;
        match (passed, outage.door) {
            (true, None) if may_cut || now >= outage.ends => {
                outage.door = Some(None);
                outage.wished = false;
            }
            (false, None) => {
                outage.contradicted = false;
                if now >= outage.ends {
                    self.next_break(now);
                }
            }
            (false, Some(None)) => self.next_break(now),
            _ => {}
        }
    }

    pub(super) fn hard(&mut self, now: Instant) {
        if self.forced.is_some() {
            return;
        }
        match &mut self.outage {
            None => {
                self.begin_outage("hard", now);
                self.next_break(now);
            }
            Some(outage) if !matches!(outage.door, Some(Some(_))) => {
                outage.by = "hard";
                self.probe(false, now);
            }
            Some(_) => {}
        }
    }

    pub(super) fn force_open(&mut self, now: Instant) {
        self.begin_outage("forced", now);
        self.deciding.clear();
        self.forced = Some(true);
    }

    pub(super) fn state(&self) -> CircuitState {
        match &self.outage {
            None => CircuitState::Closed,
            Some(Outage { door: None, .. }) => CircuitState::Open,
            Some(Outage { door: Some(_), .. }) => CircuitState::HalfOpen,
        }
    }
}
