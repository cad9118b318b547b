//! Faults that are injected into calls: for tests, and for the days on which people find out what holds.
//!
//! A fault is put on a try after its endpoint has been picked and before anything is sent. The circuit, the load,
//! retries and metrics take it for the endpoint's own.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::Response;
use metrics::Counter;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::deadline::Deadline;
use crate::error::CallError;
use crate::grpc::{Code, Status};
use crate::metric_names;
use crate::random;
use crate::transport::{ExchangeBody, late};

/// A fault to be put on a part of the calls. Probes do not meet it: an endpoint that swallows calls while its probe
/// passes is the fault that is hardest to find.
///
/// ```
/// use std::time::Duration;
/// use safelight_mesh::{Fault, FaultKind};
///
/// // Every tenth call, wherever it goes, is answered a second late.
/// let fault = Fault { endpoint: None, percent: 10.0, kind: FaultKind::Delay(Duration::from_secs(1)) };
/// # drop(fault);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The one endpoint that has it, by its address as snapshots tell it; without one, or with `all`, every one.
    pub endpoint: Option<String>,
    /// The percentage of tries that meet it; above 0, at most 100. Each try is drawn for by itself.
    pub percent: f64,
    /// What happens to them.
    pub kind: FaultKind,
}

/// What happens to a try that meets a fault. Where a try meets several, they happen in their order: a delay and
/// then an abort is a slow failure.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// It is sent so much later; at most [`Fault::LONGEST_DELAY`].
    Delay(Duration),
    /// It is not sent but answered with this code, which is not `OK`, and this message.
    Abort(Code, String),
    /// It is not sent and nothing answers, until its deadline.
    BlackHole,
}

/// The faults that a target has now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InjectedFaults {
    /// The faults.
    pub faults: Vec<Fault>,
    /// When they end by themselves; `None` where there are none.
    pub end_in: Option<Duration>,
}

/// Faults that cannot be injected. Those that were there before stay.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FaultError {
    /// A percentage that is none.
    #[error("{percent} is no percentage; expected more than 0 and at most 100")]
    Percent {
        /// What was given.
        percent: f64,
    },
    /// A delay that no test needs.
    #[error("a delay of {delay:?} is too long; at most {:?}", Fault::LONGEST_DELAY)]
    Delay {
        /// What was given.
        delay: Duration,
    },
    /// `OK` is no way to fail.
    #[error("an abort needs a code other than OK")]
    Code,
    /// A time that faults cannot last.
    #[error(
        "{time:?} is no time for faults to last; expected more than 0 and at most {:?}",
        Fault::LONGEST
    )]
    Time {
        /// What was given.
        time: Duration,
    },
    /// The target has no such endpoint.
    #[error(transparent)]
    Endpoint(#[from] crate::handle::UnknownEndpoint),
}

/// The faults of a target. Without any, a call costs one look at a flag.
#[derive(Debug)]
pub(crate) struct Faults {
    target: Arc<str>,
    any: AtomicBool,
    now: ArcSwapOption<Active>,
    /// Ends them; held while they are changed.
    ending: Mutex<Option<AbortHandle>>,
    runtime: Handle,
    delayed: Counter,
    aborted: Counter,
    swallowed: Counter,
}

#[derive(Debug)]
struct Active {
    faults: Vec<Fault>,
    until: Instant,
}

// === impl Fault ===

impl Fault {
    /// The longest that a call can be delayed: a minute.
    pub const LONGEST_DELAY: Duration = Duration::from_secs(60);
    /// How long faults last where nobody says so: ten minutes.
    pub const USUAL: Duration = Duration::from_secs(600);
    /// The longest that faults can last: an hour. A game day that was forgotten ends by itself.
    pub const LONGEST: Duration = Duration::from_secs(3_600);

    fn check(&self) -> Result<(), FaultError> {
        // A NaN is in no range.
        let percent = self.percent;
        if !(percent > 0.0 && percent <= 100.0) {
            return Err(FaultError::Percent { percent });
        }
        match &self.kind {
            FaultKind::Delay(delay) if *delay > Self::LONGEST_DELAY => {
                Err(FaultError::Delay { delay: *delay })
            }
            FaultKind::Abort(Code::Ok, _) => Err(FaultError::Code),
            FaultKind::Delay(_) | FaultKind::Abort(..) | FaultKind::BlackHole => Ok(()),
        }
    }

    fn meets(&self, endpoint: &str) -> bool {
        self.endpoint.as_deref().is_none_or(|named| named == endpoint)
            // Of all, also the one that draws just the end.
            && (self.percent >= 100.0 || random::within(0.0..=100.0) < self.percent)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} % ", self.percent)?;
        match &self.endpoint {
            Some(endpoint) => write!(f, "at {endpoint}: {}", self.kind),
            None => write!(f, "everywhere: {}", self.kind),
        }
    }
}

// === impl FaultKind ===

impl FaultKind {
    /// `delay`, `abort` or `black_hole`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Delay(_) => "delay",
            Self::Abort(..) => "abort",
            Self::BlackHole => "black_hole",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delay(delay) => write!(f, "{delay:?} later"),
            Self::Abort(code, message) => write!(f, "answered {code:?}: {message}"),
            Self::BlackHole => f.write_str("swallowed"),
        }
    }
}

// === impl Faults ===

impl Faults {
    /// None yet. They end in tasks on this runtime.
    pub(crate) fn new(target: Arc<str>, runtime: Handle) -> Arc<Self> {
        let met = |kind: &'static str| metrics::counter!(metric_names::FAULTS_INJECTED, "target" => target.to_string(), "kind" => kind);
        Arc::new(Self {
            delayed: met("delay"),
            aborted: met("abort"),
            swallowed: met("black_hole"),
            target,
            any: AtomicBool::new(false),
            now: ArcSwapOption::empty(),
            ending: Mutex::default(),
            runtime,
        })
    }

    /// Puts these in the place of those that are there.
    pub(crate) fn set(self: &Arc<Self>, faults: Vec<Fault>, time: Duration) -> Result<(), FaultError> {
        if time.is_zero() || time > Fault::LONGEST {
            return Err(FaultError::Time { time });
        }
        faults.iter().try_for_each(Fault::check)?;
        let mut ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ending) = ending.take() {
            ending.abort();
        }
        if faults.is_empty() {
            self.clear("faults cleared");
            return Ok(());
        }
        let list: Vec<String> = faults.iter().map(Fault::to_string).collect();
        tracing::warn!(
            target_name = &*self.target,
            faults = list.join("; "),
            seconds = time.as_secs_f64(),
            "faults injected"
        );
        let until = Instant::now() + time;
        let active = Arc::new(Active { faults, until });
        let ends = end(Arc::downgrade(self), Arc::downgrade(&active), until);
        self.now.store(Some(active));
        self.any.store(true, Ordering::Relaxed);
        *ending = Some(self.runtime.spawn(ends).abort_handle());
        Ok(())
    }

    pub(crate) fn list(&self) -> InjectedFaults {
        match &*self.now.load() {
            None => InjectedFaults::default(),
            Some(active) => InjectedFaults {
                faults: active.faults.clone(),
                end_in: Some(active.until.saturating_duration_since(Instant::now())),
            },
        }
    }

    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// What befalls a try at this endpoint: its answer or its error in the place of the server's; `None` where it is
    /// to be sent. Cancel safe.
    pub(crate) async fn befall(
        &self,
        endpoint: &str,
        deadline: Deadline,
    ) -> Option<Result<Response<ExchangeBody>, CallError>> {
        let active = self.now.load_full()?;
        for fault in active.faults.iter().filter(|fault| fault.meets(endpoint)) {
            match &fault.kind {
                FaultKind::Delay(delay) => {
                    self.delayed.increment(1);
                    let until = Instant::now() + *delay;
                    sleep_until(until.min(deadline.at)).await;
                    if until >= deadline.at {
                        return Some(Err(late(&self.target, deadline, true)));
                    }
                }
                FaultKind::Abort(code, message) => {
                    self.aborted.increment(1);
                    let answer = Status::new(*code, message.as_str()).into_http::<()>();
                    return Some(Ok(answer.map(|()| ExchangeBody::none(&self.target, deadline))));
                }
                FaultKind::BlackHole => {
                    self.swallowed.increment(1);
                    sleep_until(deadline.at).await;
                    return Some(Err(late(&self.target, deadline, true)));
                }
            }
        }
        None
    }

    /// Under the lock of `ending`.
    fn clear(&self, message: &'static str) {
        self.any.store(false, Ordering::Relaxed);
        if self.now.swap(None).is_some() {
            tracing::warn!(target_name = &*self.target, "{message}");
        }
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        let ending = self.ending.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(ending) = ending.take() {
            ending.abort();
        }
    }
}

/// Ends these faults at their time, unless others have come in their place.
async fn end(faults: Weak<Faults>, active: Weak<Active>, until: Instant) {
    sleep_until(until).await;
    let Some(faults) = faults.upgrade() else {
        return;
    };
    let ending = faults.ending.lock().unwrap_or_else(PoisonError::into_inner);
    let is_there = faults
        .now
        .load()
        .as_ref()
        .is_some_and(|now| std::ptr::eq(Arc::as_ptr(now), active.as_ptr()));
    if is_there {
        faults.clear("faults have ended by themselves");
    }
    drop(ending);
}
