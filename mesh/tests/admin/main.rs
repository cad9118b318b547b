//! What an operator sees of a target and does to it, over real tonic servers on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod explained;
mod faults;
mod health;
// The suite of fleets uses all of these.
#[allow(dead_code)]
#[path = "../fleet/load.rs"]
mod load;
mod orders;
#[allow(dead_code)]
#[path = "../fleet/server.rs"]
mod server;
mod snapshots;
mod stage;
