//! The whole road on real servers, for the end-to-end tests and the benchmark.
//!
//! [`Stack`] starts MariaDB, nsqlookupd, nsqd and the services as separate processes, as an operator would;
//! [`Client`] talks to them as a user would.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what cannot be started ends the test"
)]

mod authority;
mod client;
pub mod photographs;
mod programs;
mod service;
mod small_store;
mod stack;

pub use client::{Client, Image};
pub use programs::program;
pub use service::Service;
pub use small_store::SmallStore;
pub use stack::{Stack, StackBuilder};

use std::time::Duration;

use tokio::time::Instant;

/// Waits until `condition` gives a value.
///
/// # Panics
/// When there is none after `deadline`; the message says what was waited for.
pub async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let give_up = Instant::now() + deadline;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < give_up, "{what}: not within {deadline:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
