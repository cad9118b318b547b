//! The breaker as a tower layer: `poll_ready` and `call` driven by hand, in paused time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod readiness;
mod scripted;
mod trial;
mod verdict;
