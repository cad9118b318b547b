//! Spans while they last.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant, SystemTime};

use futures::future::Either;

use super::recorder::{Finished, Kind, Recorder, SpanStatus, Value, installed};
use super::{Context, scope};

/// Work within this process, as a span from its beginning to its drop. Made by [`span`].
#[must_use = "it ends when it is dropped"]
#[derive(Debug)]
pub struct Span {
    /// `None` where nothing is recorded in this process.
    context: Option<Context>,
    recording: Option<Recording>,
}

/// A span that will be recorded: sampled, and there is a recorder.
pub(super) struct Recording {
    recorder: &'static dyn Recorder,
    began: Instant,
    span: Finished,
}

/// Begins a span under the [current](Context::current) one, or a trace where there is none.
///
/// Without a recorder it is nothing, and begins no trace.
///
/// ```
/// use safelight_mesh::trace;
///
/// # async fn work() {}
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let span = trace::span("image", [("safelight.image.id", 7_i64.into())]);
/// span.within(async {
///     work().await; // the calls that it makes are spans under this one
/// })
/// .await;
/// # }
/// ```
pub fn span(
    name: impl Into<Cow<'static, str>>,
    attributes: impl IntoIterator<Item = (&'static str, Value)>,
) -> Span {
    let Some(recorder) = installed() else {
        return Span {
            context: None,
            recording: None,
        };
    };
    let context = Context::current().map_or_else(Context::root, |current| current.child());
    let recording = Recording::begin_with(recorder, Kind::Internal, &context, || name.into());
    let mut span = Span {
        context: Some(context),
        recording,
    };
    for (name, value) in attributes {
        span.set(name, value);
    }
    span
}

// === impl Span ===

impl Span {
    /// Its place in the trace; `None` without a recorder.
    pub fn context(&self) -> Option<&Context> {
        self.context.as_ref()
    }

    /// Runs `future` with this span as its [`Context::current`] one. It may be done more than once. Cancel safe if
    /// the future is.
    pub fn within<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        match &self.context {
            Some(context) => Either::Left(scope(context.clone(), future)),
            None => Either::Right(future),
        }
    }

    /// Adds an attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(recording) = &mut self.recording {
            recording.set(name, value.into());
        }
    }

    /// Says that the work failed, and why.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if let Some(recording) = &mut self.recording {
            recording.fail(why.into());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(recording) = self.recording.take() {
            recording.end();
        }
    }
}

// === impl Recording ===

impl Recording {
    /// `None` where the context is not sampled, or there is no recorder. `name` is asked for otherwise only.
    pub(super) fn begin(
        kind: Kind,
        context: &Context,
        name: impl FnOnce() -> Cow<'static, str>,
    ) -> Option<Self> {
        Self::begin_with(installed()?, kind, context, name)
    }

    pub(super) fn begin_with(
        recorder: &'static dyn Recorder,
        kind: Kind,
        context: &Context,
        name: impl FnOnce() -> Cow<'static, str>,
    ) -> Option<Self> {
        context.is_sampled().then(|| Self {
            recorder,
            began: Instant::now(),
            span: Finished {
                name: name(),
                kind,
                context: context.clone(),
                start: SystemTime::now(),
                duration: Duration::ZERO,
                attributes: Vec::with_capacity(8),
                status: SpanStatus::Unset,
            },
        })
    }

    pub(super) fn kind(&self) -> Kind {
        self.span.kind
    }

    pub(super) fn set(&mut self, name: &'static str, value: Value) {
        self.span.attributes.push((name, value));
    }

    pub(super) fn fail(&mut self, why: Cow<'static, str>) {
        self.span.status = SpanStatus::Error(why);
    }

    pub(super) fn end(mut self) {
        self.span.duration = self.began.elapsed();
        self.recorder.record(self.span);
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording")
            .field("span", &self.span)
            .finish_non_exhaustive()
    }
}
