//! The client against real servers, and against servers that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod batches;
mod cluster;
mod consuming;
mod discovery;
mod failover;
mod handling;
mod http;
#[cfg(feature = "tls")]
mod https;
mod in_flight;
mod interop;
mod keeping;
mod misbehaving;
mod outage;
mod publishing;
mod restarts;
mod support;
