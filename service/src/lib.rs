//! What every Safelight service has: configuration, logs, traces, probes, metrics, a graceful end.
//!
//! A service's `main` reads its configuration with [`parse`], starts [`telemetry`], and hands a
//! [`Shutdown`] and a [`Readiness`] to the library that does the work:
//!
//! ```no_run
//! use std::time::Duration;
//! use safelight_service::{MeshAdmin, Readiness, Shutdown, ops_router, serve, telemetry};
//!
//! # async fn run() -> std::io::Result<()> {
//! let _telemetry = telemetry::init("receiver");
//! let shutdown = Shutdown::on_signals();
//! let readiness = Readiness::new(shutdown.clone());
//! readiness.register("database", Duration::from_secs(2), || async { Ok(()) });
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
//! serve(listener, ops_router(readiness, &MeshAdmin::default()), shutdown).await
//! # }
//! ```

mod configuration;
mod http;
pub mod lease;
mod mesh;
pub mod metrics;
mod ops;
pub mod otlp;
mod problem;
mod readiness;
mod shutdown;
pub mod telemetry;

pub use configuration::{CONFIGURATION_ERROR, configuration_error, parse, parse_from};
pub use http::serve;
pub use mesh::{MeshAdmin, MeshAdminArgs};
pub use ops::ops_router;
pub use problem::Problem;
pub use readiness::Readiness;
pub use shutdown::Shutdown;
