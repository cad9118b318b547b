//! What nsqd counts.

use serde::Deserialize;

use super::answer::list;

/// Which statistics to ask for. The default is those of all topics, without the clients.
///
/// Listing clients is what costs an nsqd with many of them.
///
/// ```no_run
/// use async_nsq::{Channel, HttpConfig, NsqdHttp, StatsQuery, Topic};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut query = StatsQuery::default();
/// query.topic = Some(Topic::new("orders")?);
/// query.channel = Some(Channel::new("billing")?);
/// let nsqd = NsqdHttp::new("127.0.0.1:4151", HttpConfig::default())?;
/// let stats = nsqd.stats(&query).await?;
/// let lag = stats.channel("orders", "billing").map_or(0, |channel| channel.depth);
/// println!("{lag} messages wait");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct StatsQuery {
    /// Only of this topic.
    pub topic: Option<crate::Topic>,
    /// Only of the channel of this name, within the topic or topics.
    pub channel: Option<crate::Channel>,
    /// Also who consumes and who publishes.
    pub clients: bool,
}

/// What nsqd says about itself. A field that a server does not know is zero or empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct NsqdStats {
    /// nsqd's version.
    pub version: String,
    /// `OK`, or what is wrong.
    pub health: String,
    /// When it was started, in seconds since the Unix epoch.
    pub start_time: i64,
    /// The topics it has.
    #[serde(deserialize_with = "list")]
    pub topics: Vec<TopicStats>,
    /// Connections that have published; only where [`StatsQuery::clients`] was asked for.
    #[serde(deserialize_with = "list")]
    pub producers: Vec<ClientStats>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct TopicStats {
    /// The topic's name.
    #[serde(rename = "topic_name")]
    pub name: String,
    /// Messages that are in no channel yet.
    pub depth: u64,
    /// Those of `depth` that are on disk.
    pub backend_depth: u64,
    /// Messages published since nsqd was started.
    pub message_count: u64,
    /// Their bytes.
    pub message_bytes: u64,
    /// Whether messages are held back from the channels.
    pub paused: bool,
    /// The topic's channels.
    #[serde(deserialize_with = "list")]
    pub channels: Vec<ChannelStats>,
}

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct ChannelStats {
    /// The channel's name.
    #[serde(rename = "channel_name")]
    pub name: String,
    /// Messages that wait for a consumer: the lag.
    pub depth: u64,
    /// Those of `depth` that are on disk.
    pub backend_depth: u64,
    /// Messages that consumers have and have not answered.
    #[serde(rename = "in_flight_count")]
    pub in_flight: u64,
    /// Messages whose time has not come.
    #[serde(rename = "deferred_count")]
    pub deferred: u64,
    /// Messages that ever came in since nsqd was started.
    pub message_count: u64,
    /// Requeues since nsqd was started.
    pub requeue_count: u64,
    /// Messages not answered in time since nsqd was started.
    pub timeout_count: u64,
    /// Consumers.
    pub client_count: u64,
    /// Whether nothing is delivered.
    pub paused: bool,
    /// The consumers; only where [`StatsQuery::clients`] was asked for.
    #[serde(deserialize_with = "list")]
    pub clients: Vec<ClientStats>,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct ClientStats {
    /// What it calls itself.
    pub client_id: String,
    /// Where it says it runs.
    pub hostname: String,
    /// The other end's address.
    pub remote_address: String,
    /// Its kind and version, as it says.
    pub user_agent: String,
    /// Its RDY.
    pub ready_count: i64,
    /// Messages it has and has not answered.
    pub in_flight_count: i64,
    /// Messages sent to it.
    pub message_count: u64,
    /// Those finished.
    pub finish_count: u64,
    /// Those requeued.
    pub requeue_count: u64,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Whether it is compressed by Snappy.
    pub snappy: bool,
    /// Whether it is compressed by deflate.
    pub deflate: bool,
}

// === impl NsqdStats ===

impl NsqdStats {
    /// One topic's.
    pub fn topic(&self, name: &str) -> Option<&TopicStats> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// One channel's.
    pub fn channel(&self, topic: &str, channel: &str) -> Option<&ChannelStats> {
        let channels = &self.topic(topic)?.channels;
        channels.iter().find(|found| found.name == channel)
    }
}
