//! What can be seen of a consumer.

use std::mem::{Discriminant, discriminant};

use super::throttle::BackoffState;
use crate::error::{ConnectionError, ErrorCode};

/// The state of a consumer, to be watched.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ConsumerState {
    /// How many nsqds are configured or discovered.
    pub known: usize,
    /// How many of them are connected and subscribed.
    pub connected: usize,
    /// Whether it was asked to pause.
    pub paused: bool,
    /// Whether, and how far, it has backed off.
    pub backoff: BackoffState,
    /// Closed for good, and everything is done.
    pub closed: bool,
    /// How the close went, once it is closed.
    pub drained: Option<Drained>,
    /// Why the last connection was lost or could not be made.
    pub last_error: Option<ConnectionError>,
}

/// How the connection to one nsqd is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NsqdState {
    /// `host:port` or `unix:/path`, as configured or discovered.
    pub nsqd: String,
    /// Its share of `max_in_flight`, as last told to it.
    pub rdy: u32,
    /// Messages that have arrived and are not answered.
    pub in_flight: u32,
    /// Messages received on this connection.
    pub received: u64,
}

/// How a close went. Of a message whose connection was lost meanwhile it says nothing: nsqd requeues that itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Drained {
    /// Messages that were finished while closing.
    pub finished: usize,
    /// Messages that had arrived and were not handed out; they were requeued.
    pub requeued: usize,
    /// Messages that were handed out and not answered before the deadline. They were requeued over their
    /// holders' heads, so that somebody else gets them at once; where nsqd could not be told, they come
    /// again when their own deadlines have passed.
    pub abandoned: usize,
}

// === impl ConsumerState ===

impl ConsumerState {
    /// Of errors, the kind is compared: the same again is no news.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let key = |state: &Self| {
            (
                state.known,
                state.connected,
                state.paused,
                state.backoff,
                state.closed,
                state.last_error.as_ref().map(kind),
            )
        };
        key(self) != key(other)
    }
}

fn kind(error: &ConnectionError) -> (Discriminant<ConnectionError>, Option<ErrorCode>) {
    let code = match error {
        ConnectionError::Server(refusal) => Some(refusal.code.clone()),
        _ => None,
    };
    (discriminant(error), code)
}
