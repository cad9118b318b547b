//! How a consumer works.

use std::time::Duration;

use super::throttle::BackoffPolicy;
use crate::error::{ConfigError, rule};
use crate::http::HttpConfig;
use crate::identify::{ConnectionConfig, LONGEST};
use crate::name::{Channel, Topic};

/// How a [`Consumer`](super::Consumer) works. All fields are public; start from [`ConsumerConfig::new`].
#[derive(Debug, Clone)]
pub struct ConsumerConfig {
    /// Whose messages.
    pub topic: Topic,
    /// Each channel gets its own copy of a topic's messages; the consumers of one channel share them.
    pub channel: Channel,
    /// nsqds to connect to, `host:port` of their TCP side, resolved at each connect, or `unix:/path`.
    pub nsqd: Vec<String>,
    /// nsqlookupds to ask for more, `host:port`, `http://host:port` or `https://host:port` of their HTTP side;
    /// all of them encrypted, or none.
    pub lookupd: Vec<String>,
    /// How many messages may be unanswered at a time, all nsqds together. Default 64.
    pub max_in_flight: u32,
    /// Begin paused. Default no.
    pub start_paused: bool,
    /// The time between two polls of the nsqlookupds, give or take 30 %; the first polls, those after a
    /// lost connection, and those while nobody has the topic come sooner. Default 15 s.
    pub lookupd_interval: Duration,
    /// How nsqlookupds are asked: within which time, with which token, whether encrypted.
    pub lookupd_http: HttpConfig,
    /// How long a lowered RDY, or the end of a connection, is taken to need until nsqd acts on it, beside its
    /// output buffer timeout. No other connection is given the share before. Default 100 ms.
    pub settling_time: Duration,
    /// With more connections than `max_in_flight`: how long one that has no messages keeps its turn.
    /// Default 100 ms.
    pub idle_turn: Duration,
    /// The same for one that has messages. Default 5 s.
    pub busy_turn: Duration,
    /// What becomes of the flow when messages fail. Default off.
    pub backoff: BackoffPolicy,
    /// How connections are made and kept.
    pub connection: ConnectionConfig,
}

// === impl ConsumerConfig ===

impl ConsumerConfig {
    /// The defaults. Addresses are still to be given, in `nsqd`, `lookupd` or both.
    pub fn new(topic: Topic, channel: Channel) -> Self {
        Self {
            topic,
            channel,
            nsqd: Vec::new(),
            lookupd: Vec::new(),
            max_in_flight: 64,
            start_paused: false,
            lookupd_interval: Duration::from_secs(15),
            lookupd_http: HttpConfig::default(),
            settling_time: Duration::from_millis(100),
            idle_turn: Duration::from_millis(100),
            busy_turn: Duration::from_secs(5),
            backoff: BackoffPolicy::Off,
            connection: ConnectionConfig::default(),
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        rule(
            !self.nsqd.is_empty() || !self.lookupd.is_empty(),
            "nsqd",
            "an address here or in lookupd",
        )?;
        rule(
            self.nsqd.iter().all(|address| !address.is_empty()),
            "nsqd",
            "host:port",
        )?;
        rule(
            (1..=1_000_000).contains(&self.max_in_flight),
            "max_in_flight",
            "from 1 to 1,000,000",
        )?;
        rule(
            !self.lookupd_interval.is_zero(),
            "lookupd_interval",
            "more than nothing",
        )?;
        for (time, field) in [(self.idle_turn, "idle_turn"), (self.busy_turn, "busy_turn")] {
            rule(
                !time.is_zero() && time <= LONGEST,
                field,
                "more than nothing, and at most a day",
            )?;
        }
        rule(self.settling_time <= LONGEST, "settling_time", "at most a day")?;
        // nsqd answers SUB with E_INVALID otherwise (nsqd/protocol_v2.go, SUB).
        rule(
            self.connection.heartbeats,
            "connection.heartbeats",
            "on, or nsqd lets nobody subscribe",
        )?;
        self.backoff.validate()?;
        self.connection.validate()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_consumer_without_heartbeats_is_refused_as_nsqd_would() {
        let mut config = ConsumerConfig::new(Topic::new("t").unwrap(), Channel::new("c").unwrap());
        config.nsqd = vec!["127.0.0.1:4150".into()];
        assert_eq!(config.validate(), Ok(()));
        config.connection.heartbeats = false;
        assert_eq!(config.validate().unwrap_err().field, "connection.heartbeats");
    }
}
