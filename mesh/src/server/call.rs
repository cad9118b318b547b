//! One call from its headers to its end, as it is counted: the guard that every way out of a call runs through.

use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::method::Method;
use crate::grpc::{Code, Status};
use crate::trace::CallSpan;

/// A call under way. Dropped before it ended, it was canceled: by its caller, or by the end of the drain.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Arc<Method>,
    started: Instant,
    ended: bool,
    span: CallSpan,
    /// Its place among those that are worked on; `None` for health and reflection, and for what is refused.
    slot: Option<Slot>,
}

/// What a call that is worked on holds until it ends.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) _permit: OwnedSemaphorePermit,
    /// The drain waits for it.
    pub(super) _running: TaskTrackerToken,
}

// === impl Call ===

impl Call {
    pub(super) fn new(method: Arc<Method>, span: CallSpan) -> Self {
        method.in_flight.increment(1);
        Self {
            method,
            started: Instant::now(),
            ended: false,
            span,
            slot: None,
        }
    }

    pub(super) fn hold(&mut self, slot: Slot) {
        self.slot = Some(slot);
    }

    /// Ends it; only the first end counts.
    pub(super) fn end(&mut self, code: Code) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.slot = None;
        self.method.in_flight.decrement(1);
        self.method.ended(code, self.started.elapsed());
        self.span.end(code);
    }

    /// Ends it with what its handler answered, in headers or in trailers.
    pub(super) fn answered(&mut self, code: Code) {
        if code == Code::Ok && !self.ended {
            self.method.took(self.started.elapsed());
        }
        self.end(code);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

/// The code that headers or trailers carry.
pub(super) fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers
        .get(Status::GRPC_STATUS)
        .map(|code| Code::from_bytes(code.as_bytes()))
}
