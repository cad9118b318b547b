//! What is done over nsqd's HTTP side: topics and channels made beforehand, and what waits there measured.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nsq::{Channel, HttpError, NsqdHttp, NsqdStats, StatsQuery, Topic};
use metrics::gauge;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, warn};

use crate::id::CHANNEL;
use crate::metric_names;

/// The time between two measurements; what scrapes metrics seldom looks more often.
const MEASURED_EVERY: Duration = Duration::from_secs(5);
/// After a failure, publishing goes on undisturbed for so long.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Makes topics with their channel, once each. A channel gets what is published after it was made, so where
/// it is made first, what is seen in one channel is all there is.
#[derive(Debug, Clone)]
pub(crate) struct Groundwork {
    http: NsqdHttp,
    topics: Arc<Mutex<HashMap<Topic, Laid>>>,
}

#[derive(Debug, Clone, Copy)]
enum Laid {
    Done,
    /// Not now; not to be tried before.
    Failed(Instant),
}

// === impl Groundwork ===

impl Groundwork {
    pub(crate) fn new(http: NsqdHttp) -> Self {
        Self {
            http,
            topics: Arc::default(),
        }
    }

    /// Makes the topic and its channel, where that was not done. Publishing works without, so a failure is
    /// only logged.
    ///
    /// Cancel safe: it is done again.
    pub(crate) async fn lay(&self, topic: &Topic) {
        if self.is_laid(topic) {
            return;
        }
        let laid = match self.make(topic).await {
            Ok(()) => {
                debug!(%topic, "topic and channel made");
                Laid::Done
            }
            Err(error) => {
                warn!(%topic, %error, "topic and channel could not be made beforehand");
                Laid::Failed(Instant::now() + TRIED_AGAIN_AFTER)
            }
        };
        self.topics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(topic.clone(), laid);
    }

    fn is_laid(&self, topic: &Topic) -> bool {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        match topics.get(topic) {
            None => false,
            Some(Laid::Done) => true,
            Some(Laid::Failed(again)) => Instant::now() < *again,
        }
    }

    async fn make(&self, topic: &Topic) -> Result<(), HttpError> {
        self.http.create_topic(topic).await?;
        match Channel::new(CHANNEL) {
            Ok(channel) => self.http.create_channel(topic, &channel).await,
            // The name is a constant, and tested to be legal.
            Err(_) => Ok(()),
        }
    }
}

/// Measures what waits in nsqd, again and again, until dropped.
pub(crate) async fn watch(http: NsqdHttp) {
    let mut ticks = interval(MEASURED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = HashSet::new();
    loop {
        ticks.tick().await;
        let measured = match http.stats(&StatsQuery::default()).await {
            Ok(stats) => measured(stats),
            Err(error) => {
                debug!(nsqd = http.url(), %error, "nsqd could not be measured");
                HashMap::new()
            }
        };
        for unknown in told.iter().filter(|of| !measured.contains_key(*of)) {
            tell(unknown, Waiting::UNKNOWN);
        }
        for (of, waiting) in measured {
            tell(&of, waiting);
            told.insert(of);
        }
    }
}

/// A topic and a channel.
type Of = (String, String);

/// How many messages wait.
struct Waiting {
    lag: f64,
    in_flight: f64,
    deferred: f64,
}

impl Waiting {
    /// What was measured last says nothing of now: a graph has a gap there.
    const UNKNOWN: Self = Self {
        lag: f64::NAN,
        in_flight: f64::NAN,
        deferred: f64::NAN,
    };
}

fn measured(stats: NsqdStats) -> HashMap<Of, Waiting> {
    let mut measured = HashMap::new();
    for topic in stats.topics {
        for channel in topic.channels {
            let waiting = Waiting {
                // What waits in the topic waits for its channels.
                lag: (topic.depth + channel.depth) as f64,
                in_flight: channel.in_flight as f64,
                deferred: channel.deferred as f64,
            };
            measured.insert((topic.name.clone(), channel.name), waiting);
        }
    }
    measured
}

fn tell((topic, channel): &Of, waiting: Waiting) {
    let labels = [("topic", topic.clone()), ("channel", channel.clone())];
    gauge!(metric_names::LAG, &labels).set(waiting.lag);
    gauge!(metric_names::IN_FLIGHT, &labels).set(waiting.in_flight);
    gauge!(metric_names::DEFERRED, &labels).set(waiting.deferred);
}
