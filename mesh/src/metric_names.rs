//! The names of the metrics, all with a label `target`.
//!
//! Those of a circuit have a label `endpoint` as well where it is one of a target's: a sum over it is the target's.
//! A gauge of an endpoint that has gone stays in the recorder, closed and without a connection.
//!
//! They go to the recorder of the `metrics` crate that is installed when a target or circuit is *built*; install
//! it before.

/// Gauge of a circuit: 0 closed, 1 half-open, 2 open.
pub const CIRCUIT_STATE: &str = "mesh_circuit_state";
/// Counter of a circuit's state changes, with labels `from` and `to` (`closed`, `half_open`, `open`).
pub const CIRCUIT_TRANSITIONS: &str = "mesh_circuit_transitions_total";
/// Counter of the calls through a circuit that have ended, with a label `outcome` (`success`, `failure`, `overload`, `ignored`).
pub const CALLS: &str = "mesh_calls_total";
/// Histogram of the seconds from a call's admission to its verdict, where the admission's time was told; all
/// endpoints of a target together.
pub const CALL_SECONDS: &str = "mesh_call_seconds";
/// Counter of calls that a circuit refused and nobody sent.
pub const CALLS_REJECTED: &str = "mesh_calls_rejected_total";
/// Counter of a circuit's results that came too late to decide anything: it had changed since the call began.
pub const LATE_RESULTS: &str = "mesh_late_results_total";
/// Counter of times that a circuit did not open on soft evidence, because too many of its target's were open.
pub const SOFT_OPENINGS_REFUSED: &str = "mesh_soft_openings_refused_total";
/// Gauge of an endpoint, with a label `endpoint`: 1 while there is a live connection, else 0.
pub const CONNECTION_UP: &str = "mesh_connection_up";
/// Counter of probes, with labels `endpoint` and `result` (`passed`, `failed`).
pub const PROBES: &str = "mesh_probes_total";
/// Gauge: 1 while the target is available, else 0.
pub const AVAILABLE: &str = "mesh_available";
/// Gauge: how many endpoints the target has.
pub const ENDPOINTS: &str = "mesh_endpoints";
/// Counter of further tries of calls that may be repeated.
pub const RETRIES: &str = "mesh_retries_total";
/// Counter of tries that certainly were not processed and went to another endpoint at once.
pub const RESENDS: &str = "mesh_resends_total";
/// Counter of tries that the budget did not allow.
pub const RETRIES_OVER_BUDGET: &str = "mesh_retries_over_budget_total";
/// Counter of calls refused because too many were in flight and in wait.
pub const QUEUE_FULL: &str = "mesh_queue_full_total";
/// Counter of tries that a fault was injected into, with a label `kind` (`delay`, `abort`, `black_hole`).
pub const FAULTS_INJECTED: &str = "mesh_faults_injected_total";
/// Counter of DNS lookups, with a label `result` (`found`, `failed`).
pub const LOOKUPS: &str = "mesh_lookups_total";
/// Counter of TLS files that have changed, with the labels `certificate` (the file) and `result` (`loaded`, or
/// `failed`: the last good ones are kept), and no `target`.
pub const TLS_RELOADS: &str = "mesh_tls_reloads_total";
/// Gauge: when our certificate expires, in seconds since 1970, with a label `certificate` (the file) and no `target`.
pub const TLS_CERTIFICATE_EXPIRY: &str = "mesh_tls_certificate_expiry_seconds";
/// Counter of tries begun beside one that had not been answered in time.
pub const HEDGES: &str = "mesh_hedges_total";
