//! Telling the subscriptions of this process that a topic has something for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// One bell a topic. The number of topics is small and fixed by the program.
#[derive(Debug, Default)]
pub(super) struct Wakeups {
    topics: Mutex<HashMap<String, Arc<Notify>>>,
}

// === impl Wakeups ===

impl Wakeups {
    pub(super) fn of(&self, topic: &str) -> Arc<Notify> {
        // Nothing under the lock can panic half-way.
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.entry(topic.to_owned()).or_default().clone()
    }

    pub(super) fn wake(&self, topic: &str) {
        self.of(topic).notify_waiters();
    }
}
