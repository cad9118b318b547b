//! The second stage of a publish: queued, and waiting to be acknowledged.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::handle::Shared;
use super::request::Answer;
use crate::error::PublishError;

pin_project! {
    /// Resolves when nsqd has acknowledged the message, or when that has failed.
    ///
    /// The deadline of the publish, counted from the call that queued it, ends the wait. The producer's
    /// connection is kept open for it.
    ///
    /// # Errors
    /// See [`PublishError`]: each variant says whether the message can have been stored.
    ///
    /// # Cancel safety
    /// Dropped before the message was written to the connection, it is not sent; dropped later, it is sent
    /// and the answer is lost.
    #[derive(Debug)]
    #[must_use = "a message whose acknowledgement is dropped may not be sent"]
    pub struct PublishAck {
        answer: Answer,
        #[pin]
        deadline: Sleep,
        timeout: Duration,
        shared: Arc<Shared>,
    }
}

// === impl PublishAck ===

impl PublishAck {
    pub(super) fn new(answer: Answer, deadline: Instant, timeout: Duration, shared: Arc<Shared>) -> Self {
        Self {
            answer,
            deadline: sleep_until(deadline),
            timeout,
            shared,
        }
    }
}

impl Future for PublishAck {
    type Output = Result<(), PublishError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.answer.poll(cx) {
            return Poll::Ready(result);
        }
        ready!(this.deadline.poll(cx));
        if this.answer.withdraw() {
            let not_sent = || this.shared.why_not_sent().into();
            return Poll::Ready(Err(this.answer.doubt().unwrap_or_else(not_sent)));
        }
        // The answer may have come while we looked at the clock.
        let late = this.answer.outcome();
        Poll::Ready(late.unwrap_or(Err(PublishError::Unanswered(*this.timeout))))
    }
}
