//! The atomics and locks of the breaker. Named here so that a test can put others in their place and try every
//! order in which threads may run.

pub(super) use std::sync::atomic::{AtomicU64, Ordering};
pub(super) use std::sync::{Mutex, MutexGuard};
