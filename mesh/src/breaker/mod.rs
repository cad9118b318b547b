//! The circuit breaker: a state machine ([`Breaker`]), the circuit that drives it ([`Circuit`]), and the tower
//! layer that puts a circuit around a service ([`BreakerLayer`]).
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
//! | the caller went away, our own refusals | ignored |

mod admission;
mod body;
mod cap;
mod circuit;
mod classification;
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
