//! One message in the hands of its handler.

use std::time::Duration;

use async_nsq::Message;
use bytes::Bytes;
use metrics::counter;

use crate::embedded::HeldMessage;
use crate::error::QueueError;
use crate::metric_names;

/// A message that waits for its answer: [`finish`](Delivery::finish) or [`requeue`](Delivery::requeue).
///
/// Dropped unanswered, it is requeued at once. Held for longer than the back end's timeout without a
/// [`touch`](Delivery::touch) (60 s by default with both), it is delivered again.
#[derive(Debug)]
#[must_use = "a delivery dropped unanswered comes again"]
pub struct Delivery {
    // `None` once answered.
    held: Option<Held>,
    body: Bytes,
    topic: String,
}

#[derive(Debug)]
enum Held {
    Nsq(Message),
    Embedded(HeldMessage),
}

// === impl Delivery ===

impl Delivery {
    pub(crate) fn nsq(message: Message, topic: &str) -> Self {
        let body = message.body().clone();
        Self {
            held: Some(Held::Nsq(message)),
            body,
            topic: topic.to_owned(),
        }
    }

    pub(crate) fn embedded(message: HeldMessage, topic: &str) -> Self {
        let body = message.body().clone();
        Self {
            held: Some(Held::Embedded(message)),
            body,
            topic: topic.to_owned(),
        }
    }

    /// What was published.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// How often it was delivered, this time included.
    pub fn attempts(&self) -> u32 {
        match &self.held {
            Some(Held::Nsq(message)) => u32::from(message.attempts()),
            Some(Held::Embedded(message)) => message.attempts(),
            // Answering consumes the delivery.
            None => 0,
        }
    }

    /// Done: the message is removed. With NSQ, `Ok` says that the answer is on its way.
    ///
    /// # Errors
    /// [`QueueError::Lost`] where it is no longer held here; [`QueueError::Unavailable`]. Either way the
    /// message comes again.
    ///
    /// # Cancel safety
    /// The message may come again when the future is dropped.
    pub async fn finish(mut self) -> Result<(), QueueError> {
        self.count("finished");
        match self.held.take() {
            Some(Held::Nsq(message)) => Ok(message.finish()?),
            Some(Held::Embedded(message)) => message.finish().await,
            None => Ok(()),
        }
    }

    /// Not done: the message comes again after `delay`, of at most an hour, to anyone.
    ///
    /// # Errors
    /// As [`Delivery::finish`]; the message comes again, at a time that is not this one's choice.
    ///
    /// # Cancel safety
    /// The message comes again, perhaps without the delay, when the future is dropped.
    pub async fn requeue(mut self, delay: Duration) -> Result<(), QueueError> {
        self.count("requeued");
        match self.held.take() {
            Some(Held::Nsq(message)) => Ok(message.requeue(delay)?),
            Some(Held::Embedded(message)) => message.requeue(delay).await,
            None => Ok(()),
        }
    }

    /// Not done yet: the back end's timeout runs anew from now on. nsqd ends this after 15 minutes.
    ///
    /// # Errors
    /// [`QueueError::Lost`] where it is no longer held here, and comes again;
    /// [`QueueError::Unavailable`].
    ///
    /// # Cancel safety
    /// The timeout may run anew or not when the future is dropped.
    pub async fn touch(&self) -> Result<(), QueueError> {
        match &self.held {
            Some(Held::Nsq(message)) => Ok(message.touch()?),
            Some(Held::Embedded(message)) => message.touch().await,
            None => Ok(()),
        }
    }

    fn count(&self, answer: &'static str) {
        counter!(metric_names::ANSWERED, "topic" => self.topic.clone(), "answer" => answer).increment(1);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.held.is_some() {
            self.count("dropped");
        }
    }
}
