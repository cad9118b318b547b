//! Mutual TLS between our two sides, and against peers that are not as they should be.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod authority;
mod channel;
mod handshake;
mod protocol;
mod refused;
mod rotation;
