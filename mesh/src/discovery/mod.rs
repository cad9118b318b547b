//! Where the endpoints of a target are, and how that is followed.
//!
//! A [`TargetAddress`] is what a target was given, by gRPC's rules for names. [`Discovery`] turns it into
//! [`EndpointAddress`]es, in a task of its own: whether anybody calls or not, a name is looked up again on its own
//! clock, and soon after a connection broke.

mod address;
mod endpoint;
mod follow;
mod lookup;
mod schedule;
mod settings;

pub(crate) use address::TargetAddress;
pub(crate) use endpoint::{EndpointAddress, Found};
pub(crate) use follow::Discovery;
pub use settings::DiscoverySettings;

#[cfg(test)]
#[path = "../../tests/support/dns.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod dns_server;
