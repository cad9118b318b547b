//! The names of the server's metrics.
//!
//! Those of calls have the labels `service` and `method`. What is not served here, or not described by the bytes
//! that [`ServerBuilder::reflection`](super::ServerBuilder::reflection) was given, is `unknown`, so that a caller
//! cannot make labels up. They go to the recorder of the `metrics` crate that is installed when a server is
//! *built*; install it before.

/// Counter of ended calls, with a label `code` as gRPC writes it (`OK`, `DEADLINE_EXCEEDED`). A call whose caller
/// has gone is `CANCELLED`.
pub const REQUESTS: &str = "mesh_server_requests_total";
/// Histogram of the seconds from a call's headers to the end of its answer.
pub const SECONDS: &str = "mesh_server_seconds";
/// Gauge of the calls that are being worked on.
pub const IN_FLIGHT: &str = "mesh_server_in_flight";
/// Counter of calls that were refused because too many were in flight.
pub const SHED: &str = "mesh_server_shed_total";
/// Counter of calls that were refused because they could not be done in the time that was left.
pub const TOO_LATE: &str = "mesh_server_too_late_total";
/// Counter of handlers that panicked.
pub const PANICS: &str = "mesh_server_panics_total";
/// Gauge of the open connections; it has no labels.
pub const CONNECTIONS: &str = "mesh_server_connections";
/// Counter of connections that were turned away, with a label `reason` (`limit`, `handshake`) and no others.
pub const CONNECTIONS_REFUSED: &str = "mesh_server_connections_refused_total";
