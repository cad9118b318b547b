//! Targets of several endpoints: real tonic servers on loopback, and what befalls them under load.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod discovery;
#[path = "../support/dns.rs"]
mod dns;
mod faults;
mod load;
mod outage;
mod proxy;
mod retries;
mod server;
