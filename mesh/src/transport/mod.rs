//! All that touches a connection: making it, keeping it, and sending a call over it. What leaves this module is a
//! service of HTTP requests, so hyper can be exchanged here and nowhere else.

mod connection;
mod connector;
mod details;
mod endpoint;

pub(crate) use connection::{Connection, Link, LinkState};
pub(crate) use connector::{Address, Connector};
pub(crate) use endpoint::Endpoint;
