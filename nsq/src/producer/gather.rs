//! Making batches out of messages that were published one by one.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::{Duration, Instant};

use super::limits::Limits;
use super::request::Request;
use crate::command::{Command, batch_len};
use crate::name::Topic;

/// So many are enough for a batch; more would add latency and hardly any speed.
const ENOUGH: usize = 256;
/// The same in bytes: what a connection takes at a time.
const ENOUGH_BYTES: usize = 256 * 1024;

/// When what has gathered is sent.
#[derive(Debug)]
pub(super) struct Gathering {
    linger: Duration,
    /// When the first of those that wait was found.
    since: Option<Instant>,
}

// === impl Gathering ===

impl Gathering {
    pub(super) fn new(linger: Duration) -> Self {
        Self { linger, since: None }
    }

    /// Looks at how many wait; `true` if they are to be sent now.
    pub(super) fn is_due(&mut self, waiting: usize, now: Instant) -> bool {
        if waiting == 0 {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        waiting >= ENOUGH || now >= since + self.linger
    }

    /// When to look again, while something waits.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.since.map(|since| since + self.linger)
    }
}

/// Takes the first request off the queue, with all that can be sent along with it in one batch: messages of
/// the same topic within nsqd's limits, up to the first that cannot come along, which nothing of the topic may
/// overtake. What is taken is marked as sent; what was withdrawn is dropped.
pub(super) fn take_batch(queue: &mut VecDeque<Request>, limits: &Limits) -> Vec<Request> {
    let mut batch = Vec::new();
    let Some(first) = pop_live(queue) else {
        return batch;
    };
    let topic = first.mergeable().map(|(topic, _)| topic.clone());
    let mut size = batch_len(0, 0) + first.merged_len();
    batch.push(first);
    let Some(topic) = topic else {
        return batch;
    };
    let limit = limits.body().min(ENOUGH_BYTES);
    // Each is looked at once; what is not taken keeps its order.
    let mut full = false;
    for _ in 0..queue.len() {
        let Some(request) = queue.pop_front() else {
            break;
        };
        let fits = match request.mergeable() {
            Some((other, _)) if *other != topic => false,
            Some(_) => {
                full |= batch.len() == ENOUGH || size + request.merged_len() > limit;
                // One that nsqd would not take fails by itself, and holds nobody up.
                !full && request.check(limits).is_ok()
            }
            // A batch or a deferred message, of this topic perhaps.
            None => {
                full = true;
                false
            }
        };
        if !fits {
            queue.push_back(request);
        } else if request.begin() {
            size += request.merged_len();
            batch.push(request);
        }
    }
    batch
}

/// The command for a batch that [`take_batch`] took.
pub(super) fn command(batch: &[Request]) -> Option<Command> {
    if let [single] = batch {
        return Some(single.command());
    }
    let messages: Vec<(&Topic, &Bytes)> = batch.iter().filter_map(Request::mergeable).collect();
    let topic = messages.first()?.0.clone();
    let bodies = messages.into_iter().map(|(_, body)| body.clone()).collect();
    Some(Command::PublishMany { topic, bodies })
}

fn pop_live(queue: &mut VecDeque<Request>) -> Option<Request> {
    loop {
        let request = queue.pop_front()?;
        if request.begin() {
            return Some(request);
        }
    }
}
