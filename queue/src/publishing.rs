//! Messages on their way to the back end.

use async_nsq::BatchAck;
use metrics::counter;

use crate::error::QueueError;
use crate::metric_names;

/// Messages that are queued in their order and wait for the back end's acknowledgement.
#[derive(Debug)]
#[must_use = "messages whose acknowledgement is not waited for may not be published"]
pub struct Publishing {
    pending: Pending,
    topic: String,
    messages: usize,
}

#[derive(Debug)]
pub(crate) enum Pending {
    Nsq(BatchAck),
    /// Known already.
    Over(Result<(), QueueError>),
}

// === impl Publishing ===

impl Publishing {
    pub(crate) fn new(pending: Pending, topic: &str, messages: usize) -> Self {
        Self {
            pending,
            topic: topic.to_owned(),
            messages,
        }
    }

    /// Waits for the acknowledgement. `Ok` means that the back end has all of the messages; an error, that it
    /// does not, or is not known to.
    ///
    /// # Errors
    /// As [`Queue::publish`](crate::Queue::publish).
    ///
    /// # Cancel safety
    /// The messages may be published or not when the future is dropped.
    pub async fn wait(self) -> Result<(), QueueError> {
        let published = match self.pending {
            Pending::Nsq(ack) => ack.wait().await.map_err(QueueError::of_publish),
            Pending::Over(published) => published,
        };
        let labels = [("topic", self.topic)];
        match &published {
            Ok(()) => counter!(metric_names::PUBLISHED, &labels).increment(self.messages as u64),
            Err(_) => counter!(metric_names::PUBLISH_FAILURES, &labels).increment(1),
        }
        published
    }
}
