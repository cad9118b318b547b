//! Logs: one line an event on standard error, as text or as JSON; and traces to a collector, where one is configured.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::otlp::{self, OtlpSettings, Sending};

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// What a program keeps until its end. Dropped, it sends the spans that were not sent yet, for two seconds at most.
#[must_use = "spans are sent until it is dropped"]
#[derive(Debug)]
pub struct Telemetry {
    _sending: Option<Sending>,
}

/// Starts logging and tracing, once; later calls do nothing. `LOG_FORMAT` is `text` or `json`, `RUST_LOG` a filter
/// such as `info,safelight_mesh=debug` (default `info`); with `OTEL_EXPORTER_OTLP_ENDPOINT` spans go there. A value
/// that cannot be ends the program with a line that says so.
///
/// Must be called within a tokio runtime of several threads, and what it gives dropped within it, where spans are
/// to be sent.
pub fn init(service: &'static str) -> Telemetry {
    init_at(service, "info")
}

/// [`init`] with another filter as the default.
pub fn init_at(service: &'static str, default_filter: &str) -> Telemetry {
    let format = match std::env::var("LOG_FORMAT") {
        Ok(text) => LogFormat::from_str(&text, true).unwrap_or_else(|_| {
            crate::configuration_error(format!("LOG_FORMAT: '{text}' was given; expected text or json"))
        }),
        Err(_) => LogFormat::default(),
    };
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).unwrap_or_else(|error| {
            crate::configuration_error(format!(
                "RUST_LOG: '{text}' was given ({error}); expected a filter such as info,safelight_mesh=debug"
            ))
        }),
        _ => EnvFilter::new(default_filter),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .try_init(),
    };
    if started.is_ok() {
        tracing::debug!(service, version = env!("CARGO_PKG_VERSION"), "starting");
    }
    let settings = OtlpSettings::from_env(service).unwrap_or_else(|wrong| crate::configuration_error(wrong));
    Telemetry {
        _sending: settings.and_then(|settings| send(&settings)),
    }
}

fn send(settings: &OtlpSettings) -> Option<Sending> {
    let started = otlp::start(settings);
    // Without what may be a password.
    let collector = settings.endpoint.host().unwrap_or_default();
    match started {
        Ok(sending) => {
            tracing::info!(collector, ratio = settings.ratio, "spans are sent");
            Some(sending)
        }
        Err(otlp::OtlpError::Exporter(wrong)) => crate::configuration_error(wrong),
        Err(error) => {
            tracing::warn!(collector, %error, "spans are not sent");
            None
        }
    }
}
