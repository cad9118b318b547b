//! The circuit by itself: what opens it, what it says of it, what it costs, and what threads make of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod allocations;
mod cap;
mod evidence;
mod interleavings;
mod orders;
