//! Targets of several endpoints: real tonic servers on loopback, and what befalls them under load.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faults;
mod load;
mod outage;
mod proxy;
mod server;
