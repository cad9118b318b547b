//! A circuit-breaking gRPC client for tonic.
//!
//! A [`Target`] is a service that is called by name. Its [`channel`](Target::channel) goes into any client that
//! tonic generates; its [`availability`](Target::availability) tells a consumer of a queue when to stop taking
//! work, and when to start again, before any of it fails.
//!
//! ```no_run
//! use safelight_mesh::{Probe, Target};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let recognizer = Target::builder("recognizer", "http://127.0.0.1:50051")
//!     .probe(Probe::GrpcHealth { service: String::new() })
//!     .connect()?;
//!
//! let mut availability = recognizer.availability();
//! availability.wait_for(|now| now.is_available()).await?;
//!
//! let channel = recognizer.channel(); // goes into `SomethingClient::new(channel)`
//! # drop(channel);
//! # Ok(())
//! # }
//! ```
//!
//! A call passes these, from the outside in:
//!
//! ```text
//! channel ─► circuit ─► deadline ─► connection ─► the server
//!               ▲                       ▲
//!               └───── supervisor ──────┘   (a task of its own: connects, probes, publishes availability)
//! ```
//!
//! The circuit breaker also stands alone as a tower layer: [`breaker::BreakerLayer`].

pub mod breaker;
pub mod metric_names;
pub mod server;
#[doc(hidden)]
pub mod simulation;
pub mod tls;
pub mod trace;

mod availability;
mod backoff;
mod balancer;
mod call;
mod classify;
mod deadline;
mod discovery;
mod error;
mod explain;
mod faults;
mod handle;
mod probe;
mod random;
mod settings;
mod snapshot;
mod status_details;
mod target;
mod transport;

#[cfg(feature = "clap")]
mod args;

#[cfg(feature = "clap")]
pub use args::MeshArgs;
pub use availability::{Availability, AvailabilityState};
pub use call::{DescriptorError, Idempotency, MeshChannel, MeshFuture, Methods};
pub use discovery::DiscoverySettings;
pub use error::{BuildError, CallError, CallFailure, failure_of};
pub use explain::{EndpointExplanation, Explanation};
pub use faults::{Fault, FaultError, FaultKind, InjectedFaults};
pub use handle::{EndpointHandle, UnknownEndpoint};
pub use probe::Probe;
pub use settings::{Settings, SettingsError};
pub use snapshot::{EndpointSnapshot, Snapshot, TransitionSnapshot};
pub use target::{Target, TargetBuilder};

/// Any error that a service of tower may give.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
