//! The mesh over HTTP: a real port, and targets of real tonic servers, all on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faults;
// The mesh's own suites use all of these.
#[allow(dead_code)]
#[path = "../../../mesh/tests/fleet/load.rs"]
mod load;
mod looks;
mod orders;
mod page;
#[allow(dead_code)]
#[path = "../../../mesh/tests/fleet/server.rs"]
mod server;
