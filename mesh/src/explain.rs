//! Where a call would go now, and why not elsewhere, in words.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::availability::Availability;
use crate::balancer::{Endpoint, Out, Standing};
use crate::breaker::{CircuitState, OpenedBy, Refusal};
use crate::call::Caller;

/// Where a call to a target would go now, and why not elsewhere. Displayed as a page of text.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The target.
    pub target: String,
    /// Its address, as it was given.
    pub address: String,
    /// What a call would meet, in a sentence.
    pub answer: String,
    /// Each endpoint: those that would get the call first, the likeliest before the others.
    pub endpoints: Vec<EndpointExplanation>,
}

/// Why a call would go to an endpoint, or would not.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointExplanation {
    /// The endpoint.
    pub endpoint: String,
    /// The likelihood with which the next call goes there, 0 to 1. Of two endpoints that are drawn, the one that
    /// costs less gets the call; so of three or more the dearest gets none.
    pub likelihood: f64,
    /// Why, in words.
    pub why: String,
}

/// What an endpoint is good for.
enum Use {
    /// It takes the call, at this cost in microseconds.
    Takes(f64),
    /// It is in the choice and does not take the call now.
    Busy(String),
    /// It is not in the choice.
    Not(String),
}

struct Looked {
    endpoint: Arc<Endpoint>,
    found: Use,
    likelihood: f64,
}

// === impl Explanation ===

impl Explanation {
    pub(crate) fn of(caller: &Caller, address: &str, availability: &Availability) -> Self {
        let now = Instant::now();
        let ramp = caller.picker.ramp();
        let choice = caller.picker.choice();
        let mut looked: Vec<Looked> = choice
            .all
            .iter()
            .map(|endpoint| Looked {
                endpoint: endpoint.clone(),
                found: look_at(endpoint, ramp, now),
                likelihood: 0.0,
            })
            .collect();
        draw(&mut looked);
        looked.sort_by(|a, b| b.likelihood.total_cmp(&a.likelihood));
        let endpoints: Vec<_> = looked
            .iter()
            .map(|looked| EndpointExplanation {
                endpoint: looked.endpoint.name.to_string(),
                likelihood: looked.likelihood,
                why: looked.words(ramp, now),
            })
            .collect();
        Self {
            target: caller.target.to_string(),
            address: address.to_owned(),
            answer: answer(caller, &looked, choice.waiting, availability, now),
            endpoints,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.target, self.address)?;
        writeln!(f, "a call now {}", self.answer)?;
        for EndpointExplanation { endpoint, why, .. } in &self.endpoints {
            writeln!(f, "  {endpoint}  {why}")?;
        }
        Ok(())
    }
}

// === impl Looked ===

impl Looked {
    fn words(&self, ramp: Duration, now: Instant) -> String {
        let cost = match &self.found {
            Use::Takes(cost) => *cost,
            Use::Busy(why) | Use::Not(why) => return format!("not: {why}"),
        };
        let load = &self.endpoint.load;
        let state = format!("cost {:.1} ms, {} in flight", cost / 1e3, load.in_flight());
        let mut words = if self.likelihood > 0.999 {
            format!("would get the call: {state}")
        } else if self.likelihood > 0.0 {
            format!("may get the call ({:.0} %): {state}", self.likelihood * 100.0)
        } else {
            format!("not: each of the others costs less: {state}")
        };
        let ramped = load.ramped(now, ramp);
        if ramped < 1.0 {
            words.push_str(&format!(", ramping up: {:.0} %", ramped * 100.0));
        }
        if self.endpoint.circuit.status().state == CircuitState::HalfOpen {
            words.push_str(", and its result closes or opens the circuit");
        }
        words
    }
}

fn look_at(endpoint: &Endpoint, ramp: Duration, now: Instant) -> Use {
    match endpoint.standing() {
        Standing::Waiting => Use::Not("its first connection or its first probe is under way".to_owned()),
        Standing::Out { why, retry_at } => Use::Not(out(endpoint, &why, retry_at, now)),
        Standing::Ready | Standing::Trial if endpoint.connection.live().is_none() => {
            Use::Busy("its connection has just been lost".to_owned())
        }
        Standing::Ready | Standing::Trial => match endpoint.circuit.would_admit() {
            Ok(()) => Use::Takes(endpoint.load.cost(now, ramp)),
            Err(Refusal::TrialRunning) => {
                Use::Busy("circuit half-open, the one call that it lets through is under way".to_owned())
            }
            Err(Refusal::Open { retry_in, .. }) => {
                Use::Busy(format!("circuit open for another {}", seconds(retry_in)))
            }
        },
    }
}

fn out(endpoint: &Endpoint, why: &Out, retry_at: Option<Instant>, now: Instant) -> String {
    let next = retry_at.map(|at| seconds(at.saturating_duration_since(now)));
    let next = |what: &str| next.map_or_else(String::new, |next| format!(", next {what} in {next}"));
    match why {
        Out::NotConnected(reason) => format!("no connection: {reason}{}", next("attempt")),
        Out::Unwell(reason) => format!("{reason}{}", next("probe")),
        Out::CircuitOpen(evidence) => {
            let status = endpoint.circuit.status();
            let evidence = evidence.as_deref().unwrap_or("it has closed just now");
            let next = if endpoint.connection.is_up() {
                next("probe")
            } else {
                next("attempt to connect")
            };
            if status.opened_by == Some(OpenedBy::Forced) {
                let ago = seconds(now.saturating_duration_since(status.since));
                return format!("{evidence}; {ago} ago, until it is reset");
            }
            match status.open_until {
                Some(until) if until > now => {
                    let left = seconds(until - now);
                    format!("circuit open for another {left} after: {evidence}{next}")
                }
                _ => format!("circuit open until a probe passes, after: {evidence}{next}"),
            }
        }
    }
}

/// The likelihoods by the power of two choices: two of those in the choice are drawn, and the one that costs less
/// gets the call, or the other where it does not take it.
fn draw(looked: &mut [Looked]) {
    let costs: Vec<f64> = looked
        .iter()
        .filter_map(|one| match one.found {
            Use::Takes(cost) => Some(cost),
            Use::Busy(_) | Use::Not(_) => None,
        })
        .collect();
    let busy = looked
        .iter()
        .filter(|one| matches!(one.found, Use::Busy(_)))
        .count();
    for one in looked {
        if let Use::Takes(cost) = one.found {
            one.likelihood = likelihood(cost, &costs, busy);
        }
    }
}

/// Of an endpoint of this cost among all that take the call, its own included, and those that are in the choice
/// and do not.
fn likelihood(cost: f64, costs: &[f64], busy: usize) -> f64 {
    let takers = costs.len() as f64;
    let busy = busy as f64;
    if costs.len() == 1 {
        return 1.0;
    }
    let dearer = costs.iter().filter(|other| **other > cost).count() as f64;
    let as_dear = costs.iter().filter(|other| **other == cost).count() as f64 - 1.0;
    // Two that do not take the call are drawn again.
    let pairs = takers * (takers - 1.0) / 2.0 + takers * busy;
    (dearer + as_dear / 2.0 + busy) / pairs
}

fn answer(
    caller: &Caller,
    looked: &[Looked],
    waiting: bool,
    availability: &Availability,
    now: Instant,
) -> String {
    let likely: Vec<_> = looked.iter().filter(|one| one.likelihood > 0.0).collect();
    let mut words = match &likely[..] {
        [] => nowhere(looked, waiting, availability, now),
        [only] => format!("would go to {}", only.endpoint.name),
        several => {
            let several: Vec<_> = several
                .iter()
                .map(|one| format!("{} ({:.0} %)", one.endpoint.name, one.likelihood * 100.0))
                .collect();
            format!("would go to {}", several.join(" or "))
        }
    };
    if caller.bulkhead.is_full() {
        words.push_str(&format!(
            ", after a wait for one of {} calls in flight to end, behind {} others",
            caller.settings.in_flight_limit,
            caller.bulkhead.waiting()
        ));
    }
    let faults = caller.faults.list().faults;
    if !faults.is_empty() {
        let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
        words.push_str(&format!("; faults are injected: {}", faults.join("; ")));
    }
    words
}

/// What a call meets that no endpoint takes.
fn nowhere(looked: &[Looked], waiting: bool, availability: &Availability, now: Instant) -> String {
    let busy = looked.iter().find_map(|one| match &one.found {
        Use::Busy(why) => Some((&one.endpoint.name, why)),
        Use::Takes(_) | Use::Not(_) => None,
    });
    if let Some((endpoint, why)) = busy {
        return format!("would find no endpoint that takes it, {endpoint} not: {why}");
    }
    if waiting {
        return "would wait for a first connection and probe".to_owned();
    }
    // Where an order shuts all of them out, what they are asked changes nothing.
    let is_asked = |one: &Looked| one.endpoint.circuit.status().opened_by != Some(OpenedBy::Forced);
    let retry_at = availability.retry_at.filter(|_| looked.iter().any(is_asked));
    let again = retry_at.map_or_else(String::new, |at| {
        format!(", asked again in {}", seconds(at.saturating_duration_since(now)))
    });
    format!("would fail at once: {}{again}", availability.reason)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::likelihood;

    fn likelihoods(costs: &[f64], busy: usize) -> Vec<f64> {
        let round = |number: f64| (number * 1e3).round() / 1e3;
        costs
            .iter()
            .map(|cost| round(likelihood(*cost, costs, busy)))
            .collect()
    }

    #[test]
    fn of_two_the_cheaper_gets_the_call_and_of_three_the_dearest_does_not() {
        assert_eq!(likelihoods(&[5.0], 0), [1.0]);
        assert_eq!(likelihoods(&[1.0, 5.0], 0), [1.0, 0.0]);
        assert_eq!(likelihoods(&[1.0, 5.0, 9.0], 0), [0.667, 0.333, 0.0]);
    }

    #[test]
    fn of_those_that_cost_the_same_each_has_its_share() {
        assert_eq!(likelihoods(&[1.0, 1.0], 0), [0.5, 0.5]);
        assert_eq!(likelihoods(&[1.0, 1.0, 1.0, 1.0], 0), [0.25; 4]);
    }

    #[test]
    fn the_share_of_one_that_is_busy_goes_to_those_it_is_drawn_with() {
        assert_eq!(likelihoods(&[5.0], 2), [1.0]);
        assert_eq!(likelihoods(&[1.0, 5.0], 1), [0.667, 0.333]);
    }

    #[test]
    fn likelihoods_add_up_to_one() {
        for busy in 0..4 {
            let costs = [1.0, 2.0, 2.0, 3.0, 7.0, 7.0, 7.0];
            let sum: f64 = costs.iter().map(|cost| likelihood(*cost, &costs, busy)).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{sum} with {busy} busy");
        }
    }
}
