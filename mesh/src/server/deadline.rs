//! The time that the call being served has, for its handler and for the calls that the handler makes.
//!
//! ```
//! use safelight_mesh::server::deadline;
//! use std::time::Duration;
//! use tokio::time::Instant;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! assert_eq!(deadline::remaining(), None);
//! let at = Instant::now() + Duration::from_secs(3);
//! deadline::scope(Some(at), async {
//!     assert!(deadline::remaining().unwrap() <= Duration::from_secs(3));
//! })
//! .await;
//! # }
//! ```

use std::future::Future;
use std::time::Duration;

use tokio::task::futures::TaskLocalFuture;
use tokio::time::Instant;

tokio::task_local! {
    static DEADLINE: Option<Instant>;
}

/// When the call is answered `DEADLINE_EXCEEDED` and its work dropped. In the extensions of every request that
/// came with a `grpc-timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
}

// === impl Deadline ===

impl Deadline {
    pub(super) fn new(at: Instant) -> Self {
        Self { at }
    }

    /// The moment.
    pub fn at(self) -> Instant {
        self.at
    }

    /// What is left of the time; zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

/// The deadline of the call that the present task serves; `None` outside of a handler, or where the caller set
/// none.
///
/// A task that a handler spawns does not inherit it, see [`scope`].
pub fn current() -> Option<Instant> {
    DEADLINE.try_with(|deadline| *deadline).ok().flatten()
}

/// What is left of the time of the call that the present task serves; zero when it has passed, `None` as for
/// [`current`].
pub fn remaining() -> Option<Duration> {
    current().map(|at| at.saturating_duration_since(Instant::now()))
}

/// Runs `future` with this deadline as its [`current`] one. It is not ended by it.
///
/// `tokio::spawn(scope(current(), work))` takes a handler's deadline along into a task of its own.
pub fn scope<F: Future>(at: Option<Instant>, future: F) -> TaskLocalFuture<Option<Instant>, F> {
    DEADLINE.scope(at, future)
}

/// As [`scope`], for one step of a stream.
pub(super) fn sync_scope<R>(at: Option<Instant>, step: impl FnOnce() -> R) -> R {
    DEADLINE.sync_scope(at, step)
}
