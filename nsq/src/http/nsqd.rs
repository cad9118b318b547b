//! nsqd's HTTP side.

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answer::parse;
use super::exchange::HttpServer;
use super::{HttpConfig, HttpError, NsqdStats, StatsQuery};
use crate::error::ConfigError;
use crate::name::{Channel, Topic};

/// Asks one nsqd over HTTP: topics and channels, statistics, health, settings.
///
/// Cheap to clone, and holds no connection. Every method ends within [`HttpConfig::timeout`]; dropped
/// before that, nothing is left behind, but nsqd may have done what was asked. All changes can be
/// repeated without harm.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use async_nsq::{Channel, HttpConfig, NsqdHttp, Topic};
///
/// let nsqd = NsqdHttp::new("127.0.0.1:4151", HttpConfig::default())?;
/// let (topic, channel) = (Topic::new("orders")?, Channel::new("billing")?);
/// // A channel gets the messages published after it was made, so it is made first.
/// nsqd.create_topic(&topic).await?;
/// nsqd.create_channel(&topic, &channel).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct NsqdHttp {
    server: HttpServer,
}

/// What nsqd tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct NsqdInfo {
    /// nsqd's version.
    pub version: String,
    /// The name under which it registers with nsqlookupd.
    pub broadcast_address: String,
    /// Its machine's name.
    pub hostname: String,
    /// The port of its TCP side.
    pub tcp_port: u16,
    /// The port of its HTTP side.
    pub http_port: u16,
    /// When it was started, in seconds since the Unix epoch.
    pub start_time: i64,
}

/// The limits that a publisher has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NsqdLimits {
    /// `--max-msg-size`: the longest message in bytes.
    pub max_message_size: usize,
    /// `--max-body-size`: the longest batch in bytes, framing included.
    pub max_body_size: usize,
    /// `--max-req-timeout`: the longest delay of a deferred or requeued message.
    pub max_delay: Duration,
}

// === impl NsqdHttp ===

impl NsqdHttp {
    /// `address` is `host:port` or `http://host:port` of nsqd's HTTP side, resolved at each request, or
    /// `https://host:port` with a TLS configuration.
    ///
    /// # Errors
    /// [`ConfigError`] where the address is none of these, or the timeout is zero.
    pub fn new(address: &str, config: HttpConfig) -> Result<Self, ConfigError> {
        HttpServer::new(address, config, "nsqd").map(|server| Self { server })
    }

    /// The address as a URL.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// Whether nsqd is well; a full disk, for one, is told as status 500 with the reason.
    ///
    /// # Errors
    /// [`HttpError`]; any of them means that it is not well.
    ///
    /// # Cancel safety
    /// Nothing is left behind when the future is dropped.
    pub async fn ping(&self) -> Result<(), HttpError> {
        self.server.ask(Method::GET, "/ping", &[]).await.map(drop)
    }

    /// What nsqd tells of itself.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// Nothing is left behind when the future is dropped.
    pub async fn info(&self) -> Result<NsqdInfo, HttpError> {
        parse(&self.server.ask(Method::GET, "/info", &[]).await?)
    }

    /// What nsqd counts.
    ///
    /// # Errors
    /// [`HttpError`]. An unknown topic or channel is none: it is not in the answer.
    ///
    /// # Cancel safety
    /// Nothing is left behind when the future is dropped.
    pub async fn stats(&self, query: &StatsQuery) -> Result<NsqdStats, HttpError> {
        let clients = if query.clients { "true" } else { "false" };
        let mut pairs = vec![
            ("format", "json"),
            ("include_mem", "false"),
            ("include_clients", clients),
        ];
        pairs.extend(query.topic.as_ref().map(|topic| ("topic", topic.as_str())));
        pairs.extend(
            query
                .channel
                .as_ref()
                .map(|channel| ("channel", channel.as_str())),
        );
        parse(&self.server.ask(Method::GET, "/stats", &pairs).await?)
    }

    /// One of nsqd's settings by its name in the configuration file, such as `max_msg_size` or
    /// `mem_queue_size`. Durations are in nanoseconds.
    ///
    /// # Errors
    /// [`HttpError::Status`] 400 where nsqd has no such setting, [`HttpError::Malformed`] where it is not a
    /// `T`.
    ///
    /// # Cancel safety
    /// Nothing is left behind when the future is dropped.
    pub async fn setting<T: DeserializeOwned>(&self, name: &str) -> Result<T, HttpError> {
        parse(
            &self
                .server
                .ask(Method::GET, &format!("/config/{name}"), &[])
                .await?,
        )
    }

    /// The limits that a publisher has to keep, which no other way tells beforehand.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// Nothing is left behind when the future is dropped.
    pub async fn limits(&self) -> Result<NsqdLimits, HttpError> {
        Ok(NsqdLimits {
            max_message_size: self.setting("max_msg_size").await?,
            max_body_size: self.setting("max_body_size").await?,
            max_delay: Duration::from_nanos(self.setting("max_req_timeout").await?),
        })
    }

    /// Makes a topic, if there is none of the name.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqd may have done it, or not.
    pub async fn create_topic(&self, topic: &Topic) -> Result<(), HttpError> {
        self.of_topic("create", topic).await
    }

    /// Deletes a topic with its channels and all their messages.
    ///
    /// # Errors
    /// [`HttpError`]; [not found](HttpError::is_not_found) where there is none of the name.
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqd may have done it, or not.
    pub async fn delete_topic(&self, topic: &Topic) -> Result<(), HttpError> {
        self.of_topic("delete", topic).await
    }

    /// Throws away the messages that are in no channel yet.
    ///
    /// # Errors
    /// As [`NsqdHttp::delete_topic`].
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqd may have done it, or not.
    pub async fn empty_topic(&self, topic: &Topic) -> Result<(), HttpError> {
        self.of_topic("empty", topic).await
    }

    /// Holds messages back from the channels. Publishing goes on.
    ///
    /// # Errors
    /// As [`NsqdHttp::delete_topic`].
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqd may have done it, or not.
    pub async fn pause_topic(&self, topic: &Topic) -> Result<(), HttpError> {
        self.of_topic("pause", topic).await
    }

    /// Ends [`NsqdHttp::pause_topic`].
    ///
    /// # Errors
    /// As [`NsqdHttp::delete_topic`].
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqd may have done it, or not.
    pub async fn unpause_topic(&self, topic: &Topic) -> Result<(), HttpError> {
        self.of_topic("unpause", topic).await
    }

    /// Makes a channel of a topic that is there, if there is none of the name.
    ///
    /// # Errors
    /// [`HttpError`]; [not found](HttpError::is_not_found) where the topic is not there.
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqd may have done it, or not.
    pub async fn create_channel(&self, topic: &Topic, channel: &Channel) -> Result<(), HttpError> {
        self.of_channel("create", topic, channel).await
    }

    /// Deletes a channel and its messages, and cuts off its consumers.
    ///
    /// # Errors
    /// [`HttpError`]; [not found](HttpError::is_not_found) where there is no such topic or channel.
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqd may have done it, or not.
    pub async fn delete_channel(&self, topic: &Topic, channel: &Channel) -> Result<(), HttpError> {
        self.of_channel("delete", topic, channel).await
    }

    /// Throws away a channel's messages, those in flight and deferred included.
    ///
    /// # Errors
    /// As [`NsqdHttp::delete_channel`].
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqd may have done it, or not.
    pub async fn empty_channel(&self, topic: &Topic, channel: &Channel) -> Result<(), HttpError> {
        self.of_channel("empty", topic, channel).await
    }

    /// Delivers nothing of this channel. Messages go on coming in.
    ///
    /// # Errors
    /// As [`NsqdHttp::delete_channel`].
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqd may have done it, or not.
    pub async fn pause_channel(&self, topic: &Topic, channel: &Channel) -> Result<(), HttpError> {
        self.of_channel("pause", topic, channel).await
    }

    /// Ends [`NsqdHttp::pause_channel`].
    ///
    /// # Errors
    /// As [`NsqdHttp::delete_channel`].
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqd may have done it, or not.
    pub async fn unpause_channel(&self, topic: &Topic, channel: &Channel) -> Result<(), HttpError> {
        self.of_channel("unpause", topic, channel).await
    }

    async fn of_topic(&self, action: &str, topic: &Topic) -> Result<(), HttpError> {
        let path = format!("/topic/{action}");
        let query = [("topic", topic.as_str())];
        self.server.ask(Method::POST, &path, &query).await.map(drop)
    }

    async fn of_channel(&self, action: &str, topic: &Topic, channel: &Channel) -> Result<(), HttpError> {
        let path = format!("/channel/{action}");
        let query = [("topic", topic.as_str()), ("channel", channel.as_str())];
        self.server.ask(Method::POST, &path, &query).await.map(drop)
    }
}
