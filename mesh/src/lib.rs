//! A circuit-breaking gRPC client for tonic.
//!
//! A [`Target`] is a service that is called by name: `dns:///HOST:PORT`, `static:///A:1,B:2`, `unix:/PATH`. Its
//! [`channel`](Target::channel) goes into any client that tonic generates; its
//! [`availability`](Target::availability) tells a consumer of a queue when to stop taking work, and when to start
//! again, before any of it fails.
//!
//! ```no_run
//! use safelight_mesh::{Methods, Probe, Target};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let recognizer = Target::builder("recognizer", "dns:///recognizer:50051")
//!     .probe(Probe::GrpcHealth { service: String::new() })
//!     .methods(Methods::default().descriptor_set(safelight_proto::FILE_DESCRIPTOR_SET)?)
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
//! channel ─► bulkhead ─► tries, hedging, budget ─► pick + permit ─► exchange ─► the server
//!                                                        ▲
//!                      discovery ─► endpoints ───────────┘
//!                                     └─ each with a connection that is kept, a circuit and a supervisor, in
//!                                        tasks of their own: they connect, probe and publish availability
//! ```
//!
//! An endpoint takes calls while it has a live HTTP/2 connection, its probe passes and its circuit admits. Of two
//! of these that are drawn, the one whose load is less gets the call, and the permit of its circuit is taken in the
//! same step. What certainly was not processed goes elsewhere at once; what may be repeated ([`Methods`]) is, within
//! a budget; one deadline spans it all. A call that fails says why, and what its caller can conclude:
//! [`CallError`], [`failure_of`].
//!
//! - [`Settings`] has the defaults, and the page `docs/settings.md` says what each protects from.
//! - [`breaker`] has the table of what is evidence, and stands alone: [`breaker::BreakerLayer`] is a tower layer.
//! - [`server`] is the other side: health, deadlines, shedding, and a graceful stop.
//! - [`tls`] is mutual TLS from files that may change, [`trace`] the trace context that goes along.
//! - [`metric_names`] lists the metrics.

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
mod grpc;
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

#[cfg(doctest)]
#[doc = include_str!("../docs/settings.md")]
struct SettingsPage;
