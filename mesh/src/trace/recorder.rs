//! What becomes of spans when they have ended, and which traces are recorded at all.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use super::{Context, TraceId};

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Takes the spans of this process as they end.
pub trait Recorder: Send + Sync {
    /// Takes a span. It is called by whatever task ended it, in the middle of a call: it must neither block nor
    /// panic, and does best to put the span into a bounded queue.
    fn record(&self, span: Finished);
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// What was done, of few different values: `facerecog.Identify/Identify`.
    pub name: Cow<'static, str>,
    /// On which side of a call it was.
    pub kind: Kind,
    /// Its ids, and its parent's. It is sampled.
    pub context: Context,
    /// When it began.
    pub start: SystemTime,
    /// How long it took, by a clock that is never set.
    pub duration: Duration,
    /// What more is known, by names of OpenTelemetry's semantic conventions where there is one.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it went well.
    pub status: SpanStatus,
}

/// On which side of a call a span was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A call as the one who makes it sees it: waiting, all tries, and the response to its end.
    Client,
    /// A call as the one who answers it sees it.
    Server,
    /// Work within a process.
    Internal,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// Text that others hold as well.
    Shared(Arc<str>),
    /// A whole number.
    Integer(i64),
    /// Yes or no.
    Flag(bool),
}

/// How a span ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpanStatus {
    /// Nothing is known to be wrong.
    #[default]
    Unset,
    /// It failed, and why.
    Error(Cow<'static, str>),
}

/// No recorder was installed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum InstallError {
    /// The process has one, and keeps it.
    #[error("a recorder of spans is installed already")]
    Twice,
    /// The ratio is no part of a whole.
    #[error("{0} is no part of traces; expected 0 to 1")]
    Ratio(f64),
}

struct Installed {
    recorder: Box<dyn Recorder>,
    sampler: Sampler,
}

/// Which of the traces that begin here are recorded.
#[derive(Clone, Copy, Debug)]
struct Sampler {
    /// The least random number of a trace that is.
    threshold: u64,
}

/// The random part of a trace's id by W3C's level 2: the lowest 56 bits.
const RANDOM_BITS: u32 = 56;

/// Records the spans of this process from now on. Of the traces that begin here, the part `ratio` (0 to 1) is
/// sampled; those that begin elsewhere are recorded when their callers say that they are.
///
/// Which ones follows from their ids, as OpenTelemetry's consistent probability sampling has it: another process
/// of the same ratio decides alike. Without a recorder no span is made, and calls pay for looking whether there is
/// one: a load.
///
/// # Errors
/// [`InstallError`] where there is a recorder, or the ratio cannot be; nothing has changed then.
pub fn install(recorder: impl Recorder + 'static, ratio: f64) -> Result<(), InstallError> {
    let installed = Installed {
        recorder: Box::new(recorder),
        sampler: Sampler::new(ratio)?,
    };
    INSTALLED.set(installed).map_err(|_| InstallError::Twice)
}

/// The recorder, where there is one.
pub(super) fn installed() -> Option<&'static dyn Recorder> {
    INSTALLED.get().map(|installed| &*installed.recorder)
}

/// Whether a trace that begins here is recorded.
pub(super) fn samples(trace: TraceId) -> bool {
    INSTALLED
        .get()
        .is_some_and(|installed| installed.sampler.takes(trace))
}

// === impl Recorder ===

impl<R: Recorder + ?Sized> Recorder for Arc<R> {
    fn record(&self, span: Finished) {
        (**self).record(span);
    }
}

// === impl Sampler ===

impl Sampler {
    fn new(ratio: f64) -> Result<Self, InstallError> {
        if !(0.0..=1.0).contains(&ratio) {
            return Err(InstallError::Ratio(ratio));
        }
        let all = (1_u64 << RANDOM_BITS) as f64;
        Ok(Self {
            threshold: ((1.0 - ratio) * all) as u64,
        })
    }

    fn takes(self, trace: TraceId) -> bool {
        let random = trace.0.get() & ((1 << RANDOM_BITS) - 1);
        random >= u128::from(self.threshold)
    }
}

// === impl Value ===

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<Arc<str>> for Value {
    fn from(text: Arc<str>) -> Self {
        Self::Shared(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::num::NonZeroU128;

    use super::*;

    fn trace(id: u128) -> TraceId {
        TraceId(NonZeroU128::new(id).unwrap())
    }

    #[test]
    fn a_ratio_samples_its_part_of_the_traces_and_always_the_same_ones() {
        let quarter = Sampler::new(0.25).unwrap();
        let traces: Vec<_> = (0..4_000).map(|_| TraceId::random()).collect();
        let taken = traces.iter().filter(|&&trace| quarter.takes(trace)).count();
        // Nine standard deviations on either side.
        assert!((750..1250).contains(&taken), "{taken}");
        let half = Sampler::new(0.5).unwrap();
        assert!(
            traces
                .iter()
                .all(|&trace| half.takes(trace) || !quarter.takes(trace))
        );
    }

    #[test]
    fn all_and_none_are_ratios_too() {
        let least = trace(1 << RANDOM_BITS);
        let most = trace((1 << RANDOM_BITS) - 1);
        let all = Sampler::new(1.0).unwrap();
        assert!(all.takes(least) && all.takes(most));
        let none = Sampler::new(0.0).unwrap();
        assert!(!none.takes(least) && !none.takes(most));
    }

    #[test]
    fn only_the_random_part_of_the_id_counts() {
        let half = Sampler::new(0.5).unwrap();
        let above = 1 << (RANDOM_BITS - 1);
        assert!(half.takes(trace(above)));
        assert!(!half.takes(trace(above - 1)));
        assert!(!half.takes(trace((u128::MAX << RANDOM_BITS) | (above - 1))));
    }

    #[test]
    fn what_is_no_part_is_refused() {
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(
                matches!(Sampler::new(wrong), Err(InstallError::Ratio(_))),
                "{wrong}"
            );
        }
    }
}
