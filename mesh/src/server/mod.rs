//! The server side: one bootstrap for gRPC services.
//!
//! ```no_run
//! use safelight_mesh::server::Server;
//! use tokio::net::TcpListener;
//! use tokio::sync::watch;
//!
//! # async fn run(stop: impl Future<Output = ()>) -> Result<(), Box<dyn std::error::Error>> {
//! let (ready, readiness) = watch::channel(false);
//! let listener = TcpListener::bind("127.0.0.1:50051").await?;
//! let server = Server::builder("recognizer")
//!     .health(readiness)
//!     .reflection(&[safelight_proto::FILE_DESCRIPTOR_SET])
//!     // .add_service(IdentifyServer::new(recognizer))
//!     .build()?;
//! ready.send_replace(true);
//! let report = server.serve(listener, stop).await;
//! println!("stopped; {} calls had to be cut", report.cut);
//! # Ok(())
//! # }
//! ```
//!
//! A call passes these, in this order:
//!
//! | | what is met | how it is answered |
//! | --- | --- | --- |
//! | connection | more than [`max_connections`](ServerSettings::max_connections); a slow or wrong handshake | closed |
//! | time | a `grpc-timeout` that has passed, or is shorter than nine of ten recent answers of this method took | `DEADLINE_EXCEEDED` at once |
//! | room | [`max_in_flight`](ServerSettings::max_in_flight) calls are worked on | `RESOURCE_EXHAUSTED` at once |
//! | handler | it panics | `INTERNAL`; the connection stays |
//! | | its time is up | `DEADLINE_EXCEEDED`, and it is dropped |
//! | | its caller is gone | it is dropped |
//!
//! A handler finds the trace in [`trace::Context::current`](crate::trace::Context::current) and its time in
//! [`deadline::remaining`], and both in the extensions of its request, beside what is known of the peer. Work that
//! it spawns is its own: it is not dropped with it, see [`deadline::scope`].
//!
//! Service times are estimated for unary methods that reflection describes: at least 20 good answers of the last
//! minute, of the 64 that are remembered. One of ten calls that would be refused is let through, so that a method
//! that became faster is found out.

pub mod deadline;
pub mod metric_names;

mod answer;
mod builder;
mod call;
mod connection;
mod gate;
mod health;
mod method;
mod panic;
mod phase;
mod preface;
mod question;
mod secure;
mod serve;
mod service_time;
mod settings;

pub use builder::{ServeError, ServerBuilder};
pub use deadline::Deadline;
pub(crate) use method::code_name;
pub use secure::{Secure, Secured, Stream};
pub use serve::{DrainReport, Server};
pub use settings::ServerSettings;
