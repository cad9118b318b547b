//! Trace context by W3C, level 1: what `traceparent` and `tracestate` say, for log lines and to pass on; and spans
//! for a [`Recorder`].
//!
//! A process that [installs](install) a recorder is given a span for each call that it makes or answers, and for the
//! work that it calls a [`span`], of all traces that are sampled.
//!
//! The rules are those of <https://www.w3.org/TR/trace-context/>, section 3. What breaks them is ignored, as it
//! asks for: a `traceparent` that is wrong begins a new trace, a `tracestate` that is wrong is dropped.

use std::fmt;
use std::future::Future;
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::task::futures::TaskLocalFuture;

mod recorder;
mod rpc;
mod span;
mod state;

pub use recorder::{Finished, InstallError, Kind, Recorder, SpanStatus, Value, install};
pub(crate) use rpc::CallSpan;
pub use span::{Span, span};

/// The header with the ids of the trace and of the caller's span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header with what vendors add.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The flag of a trace that its caller records.
const SAMPLED: u8 = 0b01;
/// The flag, of level 2, of a trace whose id is random.
const RANDOM: u8 = 0b10;
/// The flags that are known and passed on. Others must be sent as zero.
const KNOWN_FLAGS: u8 = SAMPLED | RANDOM;

/// The length of version 00's `traceparent`.
const LENGTH: usize = 55;

tokio::task_local! {
    static CONTEXT: Context;
}

/// A place in a trace: the trace, a span of it, and what goes along.
///
/// ```
/// use safelight_mesh::trace::Context;
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse()?);
/// let caller = Context::from_headers(&headers).unwrap();
/// let ours = caller.child();
/// assert_eq!(ours.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
/// assert_eq!(ours.parent_id(), Some(caller.span_id()));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    trace_id: TraceId,
    span_id: SpanId,
    parent_id: Option<SpanId>,
    flags: u8,
    state: Option<Arc<str>>,
}

/// The id of a trace. Its `Display` is 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

/// The id of a span within its trace. Its `Display` is 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

/// Runs `future` with `context` as its [`Context::current`] one.
///
/// `tokio::spawn(scope(context, work))` takes a handler's context along into a task of its own.
pub fn scope<F: Future>(context: Context, future: F) -> TaskLocalFuture<Context, F> {
    CONTEXT.scope(context, future)
}

/// As [`scope`], for one step of a stream.
pub(crate) fn sync_scope<R>(context: Context, step: impl FnOnce() -> R) -> R {
    CONTEXT.sync_scope(context, step)
}

// === impl Context ===

impl Context {
    /// The beginning of a new trace. It is sampled by the ratio that was [installed](install); without a recorder,
    /// it is not.
    pub fn root() -> Self {
        let context = Self::unsampled_root();
        match recorder::samples(context.trace_id) {
            true => Self {
                flags: context.flags | SAMPLED,
                ..context
            },
            false => context,
        }
    }

    /// The beginning of a new trace that is not recorded.
    pub(crate) fn unsampled_root() -> Self {
        Self {
            trace_id: TraceId::random(),
            span_id: SpanId::random(),
            parent_id: None,
            flags: RANDOM,
            state: None,
        }
    }

    /// The context of the call that the present task serves; `None` outside of a handler.
    ///
    /// A task that a handler spawns does not inherit it, see [`scope`].
    pub fn current() -> Option<Self> {
        CONTEXT.try_with(Self::clone).ok()
    }

    /// The context of whoever sent these headers; `None` without a valid `traceparent`, or with more than one.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let (Some(parent), None) = (parents.next(), parents.next()) else {
            return None;
        };
        let context = Self::parse(parent.as_bytes())?;
        Some(Self {
            state: state::read(headers),
            ..context
        })
    }

    /// A new span of the same trace, under this one.
    pub fn child(&self) -> Self {
        Self {
            span_id: SpanId::random(),
            parent_id: Some(self.span_id),
            ..self.clone()
        }
    }

    /// Writes it into the headers of a call, in place of what they have of a trace.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.remove(TRACESTATE);
        // Hex digits and dashes are always a header's value, and so is a checked state.
        if let Ok(value) = HeaderValue::try_from(self.traceparent()) {
            headers.insert(TRACEPARENT, value);
        }
        if let Some(value) = self
            .state
            .as_deref()
            .and_then(|state| HeaderValue::try_from(state).ok())
        {
            headers.insert(TRACESTATE, value);
        }
    }

    /// The value of `traceparent`, in version 00.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags)
    }

    /// The value of `tracestate`, unchanged but for its many headers being one.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The trace.
    pub fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The span: in a handler, the one of the call that it serves.
    pub fn span_id(&self) -> SpanId {
        self.span_id
    }

    /// The span above it, where that is known: in a handler, the one of the caller.
    pub fn parent_id(&self) -> Option<SpanId> {
        self.parent_id
    }

    /// Whether the trace is recorded by those who can.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Section 3.2. Of a version that is not known yet, what version 00 has is read.
    fn parse(value: &[u8]) -> Option<Self> {
        let value = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
        let (known, more) = value.split_at_checked(LENGTH)?;
        let mut fields = known.split('-');
        let mut field = |digits| hex(fields.next()?, digits);
        let version = field(2)?;
        let trace_id = NonZeroU128::new(field(32)?)?;
        let span_id = NonZeroU64::new(u64::try_from(field(16)?).ok()?)?;
        let flags = u8::try_from(field(2)?).ok()?;
        let ends_well = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.is_empty() || more.starts_with('-'),
        };
        ends_well.then_some(Self {
            trace_id: TraceId(trace_id),
            span_id: SpanId(span_id),
            parent_id: None,
            flags: flags & KNOWN_FLAGS,
            state: None,
        })
    }
}

/// So many lower-case hex digits and nothing else.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(is_digit) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

// === impl TraceId ===

impl TraceId {
    /// Big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }

    fn random() -> Self {
        loop {
            if let Some(id) = NonZeroU128::new(rand::random()) {
                return Self(id);
            }
        }
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

// === impl SpanId ===

impl SpanId {
    /// Big-endian.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }

    fn random() -> Self {
        loop {
            if let Some(id) = NonZeroU64::new(rand::random()) {
                return Self(id);
            }
        }
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests;
