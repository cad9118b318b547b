//! nsqd's protocol, on a real nsqd: what the client negotiates and carries, and the rules of nsqd's that it
//! relies on.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod auth;
#[cfg(feature = "tls")]
mod certificates;
mod commands;
mod delivery;
mod identify;
mod layers;
mod raw;
mod sizes;
mod support;
#[cfg(feature = "tls")]
mod tls;
#[cfg(unix)]
mod unix_socket;
