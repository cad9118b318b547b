//! The circuit breaker: a state machine ([`Breaker`]), the circuit that drives it ([`Circuit`]), and the tower
//! layer that puts a circuit around a service ([`BreakerLayer`]).
//!
//! # What opens a circuit
//!
//! | what happened | by default | limited by a [`Cap`] |
//! | --- | --- | --- |
//! | failures in a row: [`Policy::consecutive_failures`] | 5 | no |
//! | too many failed calls in a window: [`Policy::failure_rate`] | off | yes, it is soft evidence |
//! | too many slow calls in a window: [`Policy::slow_calls`] | off | yes, it is soft evidence |
//! | the server asked to be left alone: [`Permit::end_with_pushback`] | on, for exactly that long | no |
//! | the service is certainly not there: [`Circuit::hard_failure`] | when told | no |
//! | an order: [`Circuit::force_open`] | when told | no |
//!
//! An open circuit refuses calls for a break. After it, or as soon as a probe passes (see [`Door`]), one call at a
//! time is let through: its success closes the circuit, its failure begins the next break, twice as long. A result
//! that says nothing, or none, gives the slot to another call. Results of calls from before the last change decide
//! nothing.
//!
//! Which of these opened a circuit is told by [`CircuitStatus::opened_by`], by the error of a refused call, and by
//! [`Circuit::transitions`].
//!
//! # What is evidence
//!
//! A call says something about the service only once it has ended; a streamed response is judged at its end.
//!
//! | what came back | outcome |
//! | --- | --- |
//! | `OK`, in the trailers or in the headers of a response without a body | success |
//! | `INVALID_ARGUMENT`, `NOT_FOUND`, `ALREADY_EXISTS`, `PERMISSION_DENIED`, `FAILED_PRECONDITION`, `ABORTED`, `OUT_OF_RANGE`, `UNIMPLEMENTED`, `UNAUTHENTICATED` | success: the service is alive, the request was at fault |
//! | `UNAVAILABLE`, `INTERNAL`, `UNKNOWN`, `DATA_LOSS`, a code that gRPC does not know | failure |
//! | `DEADLINE_EXCEEDED` | failure; ignored where the caller allowed less than the usual time |
//! | `RESOURCE_EXHAUSTED`, HTTP 429, a stream refused or `ENHANCE_YOUR_CALM` by HTTP/2 | overload |
//! | `CANCELLED` | ignored |
//! | a response that ends without a `grpc-status` | failure |
//! | an answer that is not gRPC to a call that is | failure, but for HTTP 401, 403 and 404 (alive) and 429 (overload) |
//! | an answer to a plain HTTP request | failure for 5xx, overload for 429, else success |
//! | no connection, a broken connection, any other error of the transport | failure |
//! | our own deadline | failure; ignored where the caller allowed less than the usual time |
//! | a connection that had answered calls and ended before this one was begun | ignored: whether the next can be made decides |
//! | the caller went away, our own refusals | ignored |
//!
//! What a code of gRPC says can be changed, for all methods or for one: [`Classification`].
//!
//! A failure or an overload may carry the server's wish to be left alone: `grpc-retry-pushback-ms` beside the
//! status of gRPC (a number below zero, or none at all, means that this call should not be made again, and nothing
//! else), or `Retry-After` in seconds with HTTP 429 and 503.

mod admission;
mod body;
mod cap;
mod circuit;
mod classification;
mod driven;
mod evidence;
mod future;
mod gate;
mod history;
mod layer;
mod meters;
mod permit;
mod policy;
mod rates;
mod service;
mod state;
mod status;
mod sync;
mod tally;
mod window;

pub use admission::{Admission, CircuitState, Refusal, Settled};
pub use body::JudgedBody;
pub use cap::Cap;
pub use circuit::Circuit;
pub use classification::Classification;
pub(crate) use classification::Codes;
pub use evidence::{OpenedBy, Outcome, Report};
pub use future::BreakerFuture;
pub use history::Transition;
pub use layer::BreakerLayer;
pub use permit::Permit;
pub use policy::{Door, Policy, Rate, SlowCalls};
pub use service::BreakerService;
pub use state::Breaker;
pub use status::CircuitStatus;
pub use window::Span;
