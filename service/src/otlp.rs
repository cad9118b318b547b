//! Traces to a collector, by OTLP over HTTP, where one is configured.
//!
//! ```text
//! a call ends ─► Recorder ─► queue ─► the SDK's batch processor ─► OTLP exporter ─► Client ─► collector
//!                            bounded    a thread of its own          encodes, retries
//! ```
//!
//! Who ends a call pays for putting its span into the queue, and for nothing else: a collector that is slow or away
//! loses spans, which are counted in `otlp_spans_dropped_total`.

mod client;
mod loss;
mod recorder;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanExporter as _, SpanProcessor};
use safelight_mesh::trace;
use tokio::runtime::Handle;

use client::Client;
use recorder::{Counted, Pipeline, Queue};
pub use settings::{OtlpSettings, WrongOtlpSetting};

/// Spans that wait to be sent, at most.
const QUEUE: usize = 2048;

/// How long the end of a program waits for the spans that are still to be sent.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Sends the spans of this process until it is dropped; then what is left is sent, for two seconds at most.
///
/// To be dropped within a tokio runtime that has a thread to spare: the spans are sent by it.
#[must_use = "spans are sent until it is dropped"]
#[derive(Debug)]
pub struct Sending {
    pipeline: Arc<Pipeline>,
}

/// Spans are not sent.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// A variable that the SDK reads has a value that it cannot use.
    #[error(transparent)]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// See there.
    #[error(transparent)]
    Install(#[from] trace::InstallError),
    /// There is no tokio runtime to send from.
    #[error("spans are sent from a tokio runtime, and there is none")]
    NoRuntime,
}

/// Records the calls of this process from now on, and sends them.
///
/// # Errors
/// [`OtlpError`]; nothing is recorded then.
pub fn start(settings: &OtlpSettings) -> Result<Sending, OtlpError> {
    let runtime = Handle::try_current().map_err(|_| OtlpError::NoRuntime)?;
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(Client::new(runtime, settings.timeout))
        .with_endpoint(settings.endpoint.to_string())
        .with_timeout(settings.timeout)
        .build()?;
    let resource = Resource::builder()
        .with_service_name(settings.service.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    exporter.set_resource(&resource);
    let queue = Arc::new(Queue::new(QUEUE));
    let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE).build();
    let processor = BatchSpanProcessor::new(Counted::new(exporter, queue.clone()), config);
    let pipeline = Arc::new(Pipeline::new(processor, queue));
    trace::install(pipeline.clone(), settings.ratio)?;
    Ok(Sending { pipeline })
}

// === impl Sending ===

impl Sending {
    /// Sends what waits, and returns when that was tried; after five seconds, it goes on by itself. It blocks: not
    /// for the threads of a runtime.
    pub fn flush(&self) {
        if let Err(error) = self.pipeline.processor.force_flush() {
            tracing::debug!(%error, "spans were not sent");
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Err(error) = self.pipeline.processor.shutdown_with_timeout(LAST_WORDS) {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}
