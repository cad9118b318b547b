//! Logs: one line an event on standard error, as text or as JSON.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Starts logging, once; later calls do nothing. `LOG_FORMAT` is `text` or `json`, `RUST_LOG` a filter such
/// as `info,safelight_mesh=debug` (default `info`). A value that is neither ends the program with a line
/// that says so.
pub fn init(service: &'static str) {
    init_at(service, "info");
}

/// [`init`] with another filter as the default.
pub fn init_at(service: &'static str, default_filter: &str) {
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
}
