//! Many messages at once: cut into batches that nsqd takes, and what became of them.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::PublishAck;
use super::limits::Limits;
use super::request::Payload;
use crate::command::{Command, batch_len};
use crate::error::PublishError;
use crate::name::Topic;
use crate::write_queue::WriteQueue;

/// No first line of an MPUB is longer: the word, the longest name, and what stands between.
const COMMAND_LEN: usize = 4 + 1 + 64 + 1;

/// Not all messages of [`Producer::publish_many`](super::Producer::publish_many) were acknowledged.
///
/// They are sent in as few batches as nsqd's limits allow, each with an outcome of its own.
#[derive(Debug, Clone)]
pub struct PublishManyError {
    /// What failed, in order and without overlap: which of the messages, counted from zero, and what became
    /// of them. All that is not in any of these ranges was acknowledged.
    pub failed: Vec<(Range<usize>, PublishError)>,
    /// How many messages were to be published.
    pub total: usize,
}

/// Resolves when all messages of [`Producer::enqueue_many`](super::Producer::enqueue_many) are accounted
/// for. Dropping it is as dropping a [`PublishAck`] for each batch.
#[derive(Debug)]
#[must_use = "messages whose acknowledgement is dropped may not be sent"]
pub struct BatchAck {
    pub(super) parts: Vec<Part>,
    pub(super) total: usize,
}

#[derive(Debug)]
pub(super) struct Part {
    pub(super) messages: Range<usize>,
    pub(super) ack: Result<PublishAck, PublishError>,
}

// === impl PublishManyError ===

impl PublishManyError {
    /// Nothing was sent, for this reason.
    pub(super) fn whole(total: usize, reason: impl Into<PublishError>) -> Self {
        Self {
            failed: vec![(0..total, reason.into())],
            total,
        }
    }

    /// How many messages were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let failed: usize = self.failed.iter().map(|(range, _)| range.len()).sum();
        self.total - failed
    }

    /// The failure that says least: one after which messages may have been stored, if there is any, and
    /// else the first.
    pub fn worst(&self) -> Option<&PublishError> {
        let mut reasons = self.failed.iter().map(|(_, reason)| reason);
        let unsure = reasons.clone().find(|reason| reason.may_be_stored());
        unsure.or_else(|| reasons.next())
    }
}

impl fmt::Display for PublishManyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.total - self.acknowledged();
        write!(f, "{failed} of {} messages were not published", self.total)?;
        match self.worst() {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for PublishManyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.worst().map(|reason| reason as _)
    }
}

// === impl BatchAck ===

impl BatchAck {
    /// Waits for all acknowledgements.
    ///
    /// # Errors
    /// [`PublishManyError`] says which messages were not acknowledged, and why.
    ///
    /// # Cancel safety
    /// As that of [`PublishAck`], for each batch.
    pub async fn wait(self) -> Result<(), PublishManyError> {
        let mut failed = Vec::new();
        for Part { messages, ack } in self.parts {
            let outcome = match ack {
                Ok(ack) => ack.await,
                Err(reason) => Err(reason),
            };
            if let Err(reason) = outcome {
                failed.push((messages, reason));
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(PublishManyError {
            failed,
            total: self.total,
        })
    }
}

/// Cuts messages into runs that are each within the limit as a batch. A message that is over it even alone
/// has a run of its own.
pub(super) fn split(bodies: &[Bytes], within: Range<usize>, limit: usize) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = within.start;
    let mut bytes = 0;
    for index in within.clone() {
        let len = bodies[index].len();
        if index > start && batch_len(index + 1 - start, bytes + len) > limit {
            runs.push(start..index);
            start = index;
            bytes = 0;
        }
        bytes += len;
    }
    if start < within.end {
        runs.push(start..within.end);
    }
    runs
}

/// Cuts messages into runs of valid ones, and parts that have failed for each that is not.
pub(super) fn around_invalid(
    bodies: &[Bytes],
    within: Range<usize>,
    limits: &Limits,
) -> Vec<Result<Range<usize>, Part>> {
    let mut runs = Vec::new();
    let mut start = within.start;
    for index in within.clone() {
        if let Err(reason) = limits.check_message(bodies[index].len()) {
            if start < index {
                runs.push(Ok(start..index));
            }
            runs.push(Err(Part {
                messages: index..index + 1,
                ack: Err(reason.into()),
            }));
            start = index + 1;
        }
    }
    if start < within.end {
        runs.push(Ok(start..within.end));
    }
    runs
}

/// One run as it goes on its way: an MPUB, or a PUB if it is one message.
pub(super) fn payload(topic: &Topic, bodies: &[Bytes]) -> Payload {
    if let [body] = bodies {
        return Payload::Publish {
            topic: topic.clone(),
            body: body.clone(),
        };
    }
    let mut written = WriteQueue::default();
    let copied = bodies.iter().map(Bytes::len);
    let copied = copied.filter(|&len| WriteQueue::is_copied(len)).sum();
    written.reserve(COMMAND_LEN + batch_len(bodies.len(), copied));
    Command::encode_batch(topic, bodies, &mut written);
    Payload::Batch {
        encoded: written.into_pieces(),
        messages: bodies.len(),
        largest: bodies.iter().map(Bytes::len).max().unwrap_or(0),
        size: batch_len(bodies.len(), bodies.iter().map(Bytes::len).sum()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_cover_all_in_order_keep_the_limit_and_are_no_more_than_needed(
            sizes in prop::collection::vec(1_usize..200, 1..60),
            limit in 50_usize..500,
        ) {
            let bodies: Vec<Bytes> = sizes.iter().map(|&size| vec![b'x'; size].into()).collect();
            let runs = split(&bodies, 0..bodies.len(), limit);
            let covered: Vec<usize> = runs.iter().cloned().flatten().collect();
            prop_assert_eq!(covered, (0..bodies.len()).collect::<Vec<_>>());
            let len = |run: &Range<usize>| batch_len(run.len(), sizes[run.clone()].iter().sum());
            for run in &runs {
                prop_assert!(run.len() == 1 || len(run) <= limit);
            }
            for pair in runs.windows(2) {
                prop_assert!(len(&(pair[0].start..pair[0].end + 1)) > limit);
            }
        }
    }
}
