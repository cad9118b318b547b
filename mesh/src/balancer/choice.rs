//! The choice of an endpoint for a call.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use super::InFlight;
use super::endpoint::{Endpoint, Out, Standing};
use crate::breaker::Permit;
use crate::random;
use crate::transport::Live;

/// The choice, read by every call without a lock.
#[derive(Debug)]
pub(crate) struct Picker {
    choice: ArcSwap<Choice>,
    /// Counts the choices, to wait for another one.
    version: watch::Sender<u64>,
    ramp: Duration,
}

/// The endpoints of a target as they stand.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    /// Those that take calls.
    pub(crate) ready: Box<[Arc<Endpoint>]>,
    /// All of them.
    pub(crate) all: Arc<[Arc<Endpoint>]>,
    /// Some may be in the choice soon: it is worth waiting.
    pub(crate) waiting: bool,
    /// Why there may be no endpoint at all.
    pub(crate) no_endpoint: Option<Arc<str>>,
}

/// An endpoint for one call, its circuit's permit, and the way to it.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) permit: Permit,
    pub(crate) in_flight: InFlight,
    pub(crate) live: Arc<Live>,
}

/// Why no endpoint was picked.
#[derive(Debug)]
pub(crate) enum Unpicked {
    /// One may be there soon.
    Waiting,
    /// Every endpoint in the choice has been tried by this call.
    AllTried,
    /// None is in the choice, and this is why it is so of the one that will be asked again soonest.
    Out {
        endpoint: Option<Arc<Endpoint>>,
        why: Option<Out>,
        retry_at: Option<Instant>,
        of: usize,
    },
    /// Those in the choice admit nobody now: their trials are under way, or their circuits opened just now.
    Refused(Arc<Endpoint>),
}

/// How many pairs are compared before all are looked at in turn.
const PAIRS: usize = 3;

// === impl Picker ===

impl Picker {
    pub(crate) fn new(ramp: Duration) -> Self {
        let choice = Choice {
            waiting: true,
            ..Choice::default()
        };
        Self {
            choice: ArcSwap::from_pointee(choice),
            version: watch::channel(0).0,
            ramp,
        }
    }

    pub(crate) fn choice(&self) -> arc_swap::Guard<Arc<Choice>> {
        self.choice.load()
    }

    /// The time in which an endpoint that is new or well again comes to its full share.
    pub(crate) fn ramp(&self) -> Duration {
        self.ramp
    }

    /// To wait for another choice. Subscribe before the pick that it is to follow.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub(super) fn publish(&self, choice: Choice) {
        self.choice.store(Arc::new(choice));
        self.version.send_modify(|version| *version += 1);
    }

    /// Picks an endpoint and takes its circuit's permit, in one step. Those in `tried` are left out.
    ///
    /// The power of two choices: of two drawn at random, the one that costs less. It spreads calls without
    /// sending all of them to the one that looks best at this moment.
    pub(crate) fn pick(&self, tried: &[u64], now: Instant) -> Result<Picked, Unpicked> {
        let choice = self.choice.load();
        let ready = &choice.ready;
        if ready.is_empty() {
            return Err(unpicked(&choice));
        }
        let is_tried = |endpoint: &Endpoint| tried.contains(&endpoint.id);
        if ready.len() > 1 {
            for _ in 0..PAIRS {
                let first = random::below(ready.len());
                let other = (first + 1 + random::below(ready.len() - 1)) % ready.len();
                let (first, other) = (&ready[first], &ready[other]);
                let (better, worse) = match (is_tried(first), is_tried(other)) {
                    (true, true) => continue,
                    (true, false) => (other, None),
                    (false, true) => (first, None),
                    (false, false) => {
                        if other.load.cost(now, self.ramp) < first.load.cost(now, self.ramp) {
                            (other, Some(first))
                        } else {
                            (first, Some(other))
                        }
                    }
                };
                if let Some(picked) = take(better, now).or_else(|| worse.and_then(|worse| take(worse, now))) {
                    return Ok(picked);
                }
            }
        }
        // Few are left: the cheapest of them.
        let mut refused = None;
        let mut left: Vec<_> = ready.iter().filter(|endpoint| !is_tried(endpoint)).collect();
        left.sort_by(|a, b| {
            a.load
                .cost(now, self.ramp)
                .total_cmp(&b.load.cost(now, self.ramp))
        });
        for endpoint in left {
            match take(endpoint, now) {
                Some(picked) => return Ok(picked),
                None => {
                    refused.get_or_insert(endpoint);
                }
            }
        }
        Err(match refused {
            None => Unpicked::AllTried,
            Some(endpoint) if endpoint.connection.live().is_none() => Unpicked::Waiting,
            Some(endpoint) => Unpicked::Refused(endpoint.clone()),
        })
    }
}

/// A connection that lives and a circuit that admits, or nothing.
fn take(endpoint: &Arc<Endpoint>, now: Instant) -> Option<Picked> {
    let live = endpoint.connection.live()?;
    let permit = endpoint.circuit.admit_at(now).ok()?;
    let in_flight = endpoint.load.begin(now);
    Some(Picked {
        endpoint: endpoint.clone(),
        permit,
        in_flight,
        live,
    })
}

fn unpicked(choice: &Choice) -> Unpicked {
    if choice.waiting {
        return Unpicked::Waiting;
    }
    let soonest = choice
        .all
        .iter()
        .filter_map(|endpoint| match endpoint.standing() {
            Standing::Out { why, retry_at } => Some((endpoint.clone(), why, retry_at)),
            _ => None,
        })
        .min_by_key(|(_, _, retry_at)| (retry_at.is_none(), *retry_at));
    match soonest {
        Some((endpoint, why, retry_at)) => Unpicked::Out {
            endpoint: Some(endpoint),
            why: Some(why),
            retry_at,
            of: choice.all.len(),
        },
        None => Unpicked::Out {
            endpoint: None,
            why: None,
            retry_at: None,
            of: choice.all.len(),
        },
    }
}
