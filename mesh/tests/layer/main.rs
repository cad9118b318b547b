//! The breaker as a tower layer: `poll_ready` and `call` driven by hand, in paused time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cancelled;
mod contract;
mod readiness;
mod rules;
mod scripted;
mod trial;
mod upheld;
mod verdict;
