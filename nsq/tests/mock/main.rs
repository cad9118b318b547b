//! The client against the scripted nsqd, under paused time: the exact order of commands.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod answering;
mod backoff;
mod closing;
mod handling;
mod mocked;
mod producing;
mod simulation;
mod support;
