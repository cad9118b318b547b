//! All that touches a connection: making it, keeping it, and sending a call over it. What leaves this module is
//! HTTP requests and responses, so hyper can be exchanged here and nowhere else.

mod connection;
mod connector;
mod details;
mod direct;
mod exchange;
mod origin;

pub(crate) use connection::{Connection, Link, LinkState, Live};
pub(crate) use connector::Connector;
pub(crate) use direct::Direct;
pub(crate) use exchange::{ExchangeBody, late};
pub(crate) use origin::Origin;
