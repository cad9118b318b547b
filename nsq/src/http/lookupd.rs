//! nsqlookupd's HTTP side.

use http::Method;
use serde::Deserialize;

use super::answer::{authority, list, parse};
use super::exchange::HttpServer;
use super::{HttpConfig, HttpError};
use crate::error::ConfigError;
use crate::name::{Channel, Topic};

/// Asks one nsqlookupd over HTTP: who has a topic, which nsqds there are, which topics and channels.
///
/// Cheap to clone, and holds no connection. Every method ends within [`HttpConfig::timeout`]; dropped
/// before that, nothing is left behind, but nsqlookupd may have done what was asked. All changes can be
/// repeated without harm.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use async_nsq::{HttpConfig, LookupdHttp, Topic};
///
/// let lookupd = LookupdHttp::new("127.0.0.1:4161", HttpConfig::default())?;
/// if let Some(found) = lookupd.lookup(&Topic::new("orders")?).await? {
///     for node in found.producers {
///         println!("{} has it", node.tcp_address());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct LookupdHttp {
    server: HttpServer,
}

/// What nsqlookupd knows of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Lookup {
    /// The channels that the topic has anywhere.
    #[serde(default, deserialize_with = "list")]
    pub channels: Vec<String>,
    /// The nsqds that have the topic, those tombstoned for it left out.
    #[serde(deserialize_with = "list")]
    pub producers: Vec<Node>,
}

/// An nsqd as it registered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[non_exhaustive]
pub struct Node {
    /// The name that others reach it under.
    pub broadcast_address: String,
    /// The port of its TCP side.
    pub tcp_port: u16,
    /// The port of its HTTP side.
    #[serde(default)]
    pub http_port: u16,
    /// Its machine's name.
    #[serde(default)]
    pub hostname: String,
    /// Where its connection to nsqlookupd comes from.
    #[serde(default)]
    pub remote_address: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// The topics it has; only from [`LookupdHttp::nodes`].
    #[serde(default, deserialize_with = "list")]
    pub topics: Vec<String>,
    /// For each of `topics`, whether the node is tombstoned, so that consumers are not sent to it.
    #[serde(default, deserialize_with = "list")]
    pub tombstones: Vec<bool>,
}

#[derive(Deserialize)]
struct Nodes {
    #[serde(deserialize_with = "list")]
    producers: Vec<Node>,
}

#[derive(Deserialize)]
struct Topics {
    #[serde(deserialize_with = "list")]
    topics: Vec<String>,
}

#[derive(Deserialize)]
struct Channels {
    #[serde(deserialize_with = "list")]
    channels: Vec<String>,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

// === impl LookupdHttp ===

impl LookupdHttp {
    /// `address` is `host:port` or `http://host:port` of nsqlookupd's HTTP side, resolved at each request, or
    /// `https://host:port` with a TLS configuration.
    ///
    /// # Errors
    /// [`ConfigError`] where the address is none of these, or the timeout is zero.
    pub fn new(address: &str, config: HttpConfig) -> Result<Self, ConfigError> {
        HttpServer::new(address, config, "lookupd").map(|server| Self { server })
    }

    /// The address as a URL.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// Whether nsqlookupd answers.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// Nothing is left behind when the future is dropped.
    pub async fn ping(&self) -> Result<(), HttpError> {
        self.server.ask(Method::GET, "/ping", &[]).await.map(drop)
    }

    /// nsqlookupd's version.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// Nothing is left behind when the future is dropped.
    pub async fn version(&self) -> Result<String, HttpError> {
        let answer: Version = parse(&self.server.ask(Method::GET, "/info", &[]).await?)?;
        Ok(answer.version)
    }

    /// Who has a topic; `None` where it is not known, which is so until somebody publishes to it.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// Nothing is left behind when the future is dropped.
    pub async fn lookup(&self, topic: &Topic) -> Result<Option<Lookup>, HttpError> {
        let query = [("topic", topic.as_str())];
        match self.server.ask(Method::GET, "/lookup", &query).await {
            Ok(answer) => parse(&answer).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All nsqds that are registered.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// Nothing is left behind when the future is dropped.
    pub async fn nodes(&self) -> Result<Vec<Node>, HttpError> {
        let answer: Nodes = parse(&self.server.ask(Method::GET, "/nodes", &[]).await?)?;
        Ok(answer.producers)
    }

    /// The names of all topics.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// Nothing is left behind when the future is dropped.
    pub async fn topics(&self) -> Result<Vec<String>, HttpError> {
        let answer: Topics = parse(&self.server.ask(Method::GET, "/topics", &[]).await?)?;
        Ok(answer.topics)
    }

    /// The names of a topic's channels; none where the topic is not known.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// Nothing is left behind when the future is dropped.
    pub async fn channels(&self, topic: &Topic) -> Result<Vec<String>, HttpError> {
        let query = [("topic", topic.as_str())];
        let answer: Channels = parse(&self.server.ask(Method::GET, "/channels", &query).await?)?;
        Ok(answer.channels)
    }

    /// Makes a topic known, as long as this nsqlookupd runs. No nsqd has it by that.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqlookupd may have done it, or not.
    pub async fn create_topic(&self, topic: &Topic) -> Result<(), HttpError> {
        self.change("/topic/create", &[("topic", topic.as_str())]).await
    }

    /// Forgets a topic and its channels. An nsqd that has it keeps it.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqlookupd may have done it, or not.
    pub async fn delete_topic(&self, topic: &Topic) -> Result<(), HttpError> {
        self.change("/topic/delete", &[("topic", topic.as_str())]).await
    }

    /// Makes a channel known, and its topic: an nsqd that is first published the topic to asks here, and
    /// makes the channel before it takes the message.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqlookupd may have done it, or not.
    pub async fn create_channel(&self, topic: &Topic, channel: &Channel) -> Result<(), HttpError> {
        let query = [("topic", topic.as_str()), ("channel", channel.as_str())];
        self.change("/channel/create", &query).await
    }

    /// Forgets a channel. An nsqd that has it keeps it.
    ///
    /// # Errors
    /// [`HttpError`]; [not found](HttpError::is_not_found) where it is not known.
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqlookupd may have done it, or not.
    pub async fn delete_channel(&self, topic: &Topic, channel: &Channel) -> Result<(), HttpError> {
        let query = [("topic", topic.as_str()), ("channel", channel.as_str())];
        self.change("/channel/delete", &query).await
    }

    /// Leaves one nsqd out of the answers for a topic for a while (45 s by default), so that it can be
    /// deleted there without consumers making it again. `node` is `host:port` of its HTTP side.
    ///
    /// # Errors
    /// [`HttpError`].
    ///
    /// # Cancel safety
    /// When the future is dropped, nsqlookupd may have done it, or not.
    pub async fn tombstone(&self, topic: &Topic, node: &str) -> Result<(), HttpError> {
        self.change("/topic/tombstone", &[("topic", topic.as_str()), ("node", node)])
            .await
    }

    async fn change(&self, path: &str, query: &[(&str, &str)]) -> Result<(), HttpError> {
        self.server.ask(Method::POST, path, query).await.map(drop)
    }
}

// === impl Node ===

impl Node {
    /// `host:port` of its TCP side.
    pub fn tcp_address(&self) -> String {
        authority(&self.broadcast_address, self.tcp_port)
    }

    /// `host:port` of its HTTP side.
    pub fn http_address(&self) -> String {
        authority(&self.broadcast_address, self.http_port)
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_old_and_new_servers_are_understood() {
        let addresses = |body: &[u8]| {
            let lookup: Lookup = parse(body)?;
            let addresses = lookup.producers.iter().map(Node::tcp_address);
            Ok::<Vec<String>, HttpError>(addresses.collect())
        };
        let bare = br#"{"channels":["c"],"producers":[{"broadcast_address":"n1","tcp_port":4150,"version":"1.3.0"}]}"#;
        let wrapped =
            br#"{"status_code":200,"data":{"producers":[{"broadcast_address":"::1","tcp_port":4150}]}}"#;
        let none = br#"{"channels":null,"producers":null}"#;
        assert_eq!(addresses(bare).expect("valid"), ["n1:4150"]);
        assert_eq!(addresses(wrapped).expect("valid"), ["[::1]:4150"]);
        assert_eq!(addresses(none).expect("valid"), [] as [&str; 0]);
        assert!(addresses(b"[]").is_err());
        assert!(addresses(b"not json").is_err());
    }

    #[test]
    fn an_address_is_taken_with_or_without_its_scheme_and_no_other_scheme_is() {
        let url = |text| LookupdHttp::new(text, HttpConfig::default()).map(|server| server.url().to_owned());
        assert_eq!(url("127.0.0.1:4161"), Ok("http://127.0.0.1:4161/".to_owned()));
        assert_eq!(url("http://lookup:4161"), Ok("http://lookup:4161/".to_owned()));
        assert!(url("ftp://lookup:4161").is_err());
        assert!(url("").is_err());
    }
}
