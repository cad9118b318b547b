//! From a span that ended to the SDK's batch processor.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor,
};
use safelight_mesh::trace::{self, Finished, Kind, Recorder, SpanStatus};

use super::loss::Losses;

/// Where spans go in.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) processor: BatchSpanProcessor,
    queue: Arc<Queue>,
    scope: InstrumentationScope,
}

/// Counts the spans that wait in the processor, which drops what is too much for it and does not say so.
#[derive(Debug)]
pub(super) struct Queue {
    longest: usize,
    waiting: AtomicUsize,
    losses: Losses,
}

/// An exporter whose failures are counted.
#[derive(Debug)]
pub(super) struct Counted<E> {
    inner: E,
    queue: Arc<Queue>,
}

// === impl Pipeline ===

impl Pipeline {
    /// The processor has room for as many spans as the queue, or for more.
    pub(super) fn new(processor: BatchSpanProcessor, queue: Arc<Queue>) -> Self {
        Self {
            processor,
            queue,
            scope: InstrumentationScope::builder("safelight_mesh")
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        }
    }
}

impl Recorder for Pipeline {
    fn record(&self, span: Finished) {
        if self.queue.enter() {
            self.processor.on_end(data(span, self.scope.clone()));
        }
    }
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(longest: usize) -> Self {
        Self {
            longest,
            waiting: AtomicUsize::new(0),
            losses: Losses::default(),
        }
    }

    /// Whether there is room for one more.
    fn enter(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.longest {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.losses.add(1, "the queue to the collector is full");
        false
    }

    fn leave(&self, spans: usize) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
    }
}

// === impl Counted ===

impl<E> Counted<E> {
    pub(super) fn new(inner: E, queue: Arc<Queue>) -> Self {
        Self { inner, queue }
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.queue.leave(spans);
        let exported = self.inner.export(batch).await;
        match &exported {
            Ok(()) => metrics::counter!("otlp_spans_sent_total").increment(spans as u64),
            Err(error) => self.queue.losses.add(spans, error),
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// A span as the SDK has it, with the ids that it has already.
fn data(span: Finished, scope: InstrumentationScope) -> SpanData {
    let context = span.context;
    let id = |id: trace::SpanId| SpanId::from_bytes(id.to_bytes());
    let state = context.tracestate().map(TraceState::from_str);
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(context.trace_id().to_bytes()),
            id(context.span_id()),
            TraceFlags::SAMPLED,
            false,
            state.and_then(Result::ok).unwrap_or_default(),
        ),
        parent_span_id: context.parent_id().map_or(SpanId::INVALID, id),
        parent_span_is_remote: span.kind == Kind::Server && context.parent_id().is_some(),
        span_kind: match span.kind {
            Kind::Client => SpanKind::Client,
            Kind::Server => SpanKind::Server,
            Kind::Internal => SpanKind::Internal,
        },
        name: span.name,
        start_time: span.start,
        end_time: span.start + span.duration,
        attributes: span.attributes.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: match span.status {
            SpanStatus::Unset => Status::Unset,
            SpanStatus::Error(why) => Status::error(why),
        },
        instrumentation_scope: scope,
    }
}

fn attribute((name, value): (&'static str, trace::Value)) -> KeyValue {
    let value = match value {
        trace::Value::Text(text) => Value::String(text.into()),
        trace::Value::Shared(text) => Value::String(text.into()),
        trace::Value::Integer(number) => Value::I64(number),
        trace::Value::Flag(flag) => Value::Bool(flag),
        // None of today; a mesh that has more is told of in its own words.
        other => Value::String(format!("{other:?}").into()),
    };
    KeyValue::new(name, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_takes_no_more_until_a_batch_has_left_it() {
        let queue = Queue::new(3);
        let taken = (0..5).filter(|_| queue.enter()).count();
        assert_eq!(taken, 3);
        queue.leave(2);
        let taken = (0..5).filter(|_| queue.enter()).count();
        assert_eq!(taken, 2);
    }
}
