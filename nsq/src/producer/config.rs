//! How a producer works.

use std::time::Duration;

use super::request::Bounds;
use crate::error::{ConfigError, rule};
use crate::http::NsqdHttp;
use crate::identify::ConnectionConfig;

/// How a [`Producer`](super::Producer) works. All fields are public; start from [`ProducerConfig::new`].
///
/// ```
/// use async_nsq::{HttpConfig, NsqdAddress, NsqdHttp, ProducerConfig};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), async_nsq::ConfigError> {
/// // The first nsqd tells its limits over HTTP; the second stands in for it.
/// let http = NsqdHttp::new("nsqd-1:4151", HttpConfig::default())?;
/// let mut config = ProducerConfig::new(NsqdAddress::new("nsqd-1:4150").with_http(http));
/// config.nsqd.push("nsqd-2:4150".into());
/// config.publish_timeout = Duration::from_secs(2);
/// config.linger = Some(Duration::from_millis(1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ProducerConfig {
    /// The nsqds to publish to, one at a time: the first that takes a connection is kept until the
    /// connection is lost or nsqd refuses to store, and then the next in the list has its turn.
    pub nsqd: Vec<NsqdAddress>,
    /// How connections are made and kept.
    pub connection: ConnectionConfig,
    /// How long [`Producer::publish`](super::Producer::publish) may take, waiting for a connection
    /// included. Default 5 s.
    pub publish_timeout: Duration,
    /// The longest message in bytes; nsqd's `--max-msg-size`. Default 1 MiB, as there. It is only where
    /// to start from: nsqd's own limit takes its place when it is learned, over HTTP where
    /// [`NsqdAddress::http`] is set, or else from the first refusal.
    pub max_message_size: usize,
    /// The longest batch in bytes, framing included; nsqd's `--max-body-size`. Default 5 MiB, as there.
    /// Learned as `max_message_size` is.
    pub max_body_size: usize,
    /// The longest delay of a deferred message; nsqd's `--max-req-timeout`. Default 1 h, as there.
    /// Learned as `max_message_size` is.
    pub max_delay: Duration,
    /// How many publishes may be unanswered at a time, a batch counting as one; more wait for their turn.
    /// Default 4096.
    pub max_pending: usize,
    /// How many bytes may be unanswered at a time; more wait for their turn. Default 64 MiB.
    pub max_pending_bytes: usize,
    /// How long a message may wait for others of its topic, to be sent with them as one batch; nsqd
    /// stores batches many times as fast as single messages. `Some` of zero waits for nothing and sends
    /// together what has come together. Default `None`: each message is a command of its own.
    ///
    /// Each publish has its own outcome nevertheless. Messages over nsqd's limit are refused before they
    /// are sent, so one bad message fails alone; only when nsqd's disk fails
    /// ([`ErrorCode::MpubFailed`](crate::ErrorCode::MpubFailed)) is the whole batch in doubt.
    pub linger: Option<Duration>,
}

/// One nsqd.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NsqdAddress {
    /// `host:port` of its TCP side, resolved at each connect, or `unix:/path`.
    pub tcp: String,
    /// Its HTTP side, to learn its limits from with each connect. An nsqd that does not answer there in
    /// time is published to all the same.
    pub http: Option<NsqdHttp>,
}

// === impl ProducerConfig ===

impl ProducerConfig {
    /// The defaults, for one nsqd.
    pub fn new(nsqd: impl Into<NsqdAddress>) -> Self {
        Self {
            nsqd: vec![nsqd.into()],
            connection: ConnectionConfig::default(),
            publish_timeout: Duration::from_secs(5),
            max_message_size: 1024 * 1024,
            max_body_size: 5 * 1024 * 1024,
            max_delay: Duration::from_secs(60 * 60),
            max_pending: 4096,
            max_pending_bytes: 64 * 1024 * 1024,
            linger: None,
        }
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let framable = i32::MAX as usize;
        rule(!self.nsqd.is_empty(), "nsqd", "at least one")?;
        rule(
            self.nsqd.iter().all(|nsqd| !nsqd.tcp.is_empty()),
            "nsqd",
            "host:port",
        )?;
        rule(
            (1..=framable).contains(&self.max_message_size),
            "max_message_size",
            "from 1 byte to 2 GiB",
        )?;
        rule(
            (1..=framable).contains(&self.max_body_size),
            "max_body_size",
            "from 1 byte to 2 GiB",
        )?;
        rule(
            Bounds::fit(self.max_pending),
            "max_pending",
            "at least 1, and below 2^29",
        )?;
        let largest = self.max_message_size.max(self.max_body_size);
        rule(
            Bounds::fit(self.max_pending_bytes) && self.max_pending_bytes >= largest,
            "max_pending_bytes",
            "at least max_message_size and max_body_size, and below 512 MiB",
        )?;
        self.connection.validate()
    }
}

// === impl NsqdAddress ===

impl NsqdAddress {
    /// An nsqd by its TCP side alone.
    pub fn new(tcp: impl Into<String>) -> Self {
        Self {
            tcp: tcp.into(),
            http: None,
        }
    }

    /// The same with its HTTP side.
    #[must_use]
    pub fn with_http(self, http: NsqdHttp) -> Self {
        Self {
            http: Some(http),
            ..self
        }
    }
}

impl<T: Into<String>> From<T> for NsqdAddress {
    fn from(tcp: T) -> Self {
        Self::new(tcp)
    }
}
