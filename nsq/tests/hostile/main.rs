//! Servers that lie, stall, babble and vanish: the client tells what happened by type, hangs nowhere, and
//! never takes more memory than was sent.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod cancelled;
mod cancelled_consumer;
mod choppy;
mod closing;
mod cut_answers;
mod cut_subscriptions;
mod giving_up;
mod lengths;
mod nsqd;
mod server;
mod silence;
#[cfg(feature = "tls")]
mod tls;
mod transcript;
