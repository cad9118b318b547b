//! Introducing ourselves: what we ask of nsqd, and what it grants.

mod auth;
mod config;
mod negotiated;
mod request;

pub use auth::{AuthSecret, Authorization};
pub(crate) use config::LONGEST;
pub use config::{Compression, ConnectionConfig};
pub use negotiated::{Compressed, Negotiated};
