//! How deployments name their queue.

use clap::{Args, ValueEnum};
use safelight_database::Database;

use crate::error::QueueError;
use crate::nsq::NsqConfig;
use crate::queue::Queue;

/// The queue, as flags and environment variables.
#[derive(Debug, Clone, Args)]
pub struct QueueArgs {
    /// The back end: nsq, or embedded in an SQLite database; by default nsq where an address of it is given
    #[arg(long, env = "QUEUE", value_enum)]
    pub queue: Option<QueueKind>,

    /// The nsqd to publish to, as HOST:PORT of its TCP side
    #[arg(long, env = "PRODUCER_ADDRESS", value_parser = host_and_port)]
    pub producer_address: Option<String>,

    /// The same nsqd's HTTP side, as HOST:PORT: to make channels beforehand, and to measure what waits
    #[arg(long, env = "PRODUCER_HTTP_ADDRESS", value_parser = lookup_address)]
    pub producer_http_address: Option<String>,

    /// The nsqlookupds to find nsqds with, comma-separated, as HOST:PORT of their HTTP side
    #[arg(long, env = "NSQ_LOOKUP_ADDRESS", value_delimiter = ',', value_parser = lookup_address)]
    pub nsq_lookup_address: Vec<String>,

    /// nsqds to subscribe to without nsqlookupd, comma-separated, as HOST:PORT of their TCP side
    #[arg(long, env = "NSQD_ADDRESS", value_delimiter = ',', value_parser = host_and_port)]
    pub nsqd_address: Vec<String>,
}

/// A back end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QueueKind {
    /// A table of the SQLite database.
    Embedded,
    /// NSQ.
    Nsq,
}

// === impl QueueArgs ===

impl QueueArgs {
    /// The back end chosen, or the default: NSQ where any address of it is given.
    pub fn kind(&self) -> QueueKind {
        let addressed = self.producer_address.is_some()
            || !self.nsq_lookup_address.is_empty()
            || !self.nsqd_address.is_empty();
        self.queue.unwrap_or(if addressed {
            QueueKind::Nsq
        } else {
            QueueKind::Embedded
        })
    }

    /// Opens the queue; `database` is where the embedded one lives. Returns at once, whether or not any
    /// server is there.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`QueueError::Invalid`], naming the variable, where the arguments do not fit together.
    pub fn connect(&self, database: &Database) -> Result<Queue, QueueError> {
        match self.kind() {
            QueueKind::Nsq => self.connect_nsq(),
            QueueKind::Embedded => {
                let table = database.embedded_queue().ok_or_else(|| {
                    QueueError::Invalid(
                        "QUEUE: 'embedded' lives in an SQLite database, and DATABASE_URL names another; \
                         expected nsq, with PRODUCER_ADDRESS, NSQ_LOOKUP_ADDRESS or NSQD_ADDRESS"
                            .to_owned(),
                    )
                })?;
                Ok(Queue::embedded(table))
            }
        }
    }

    fn connect_nsq(&self) -> Result<Queue, QueueError> {
        let config = NsqConfig {
            producer: self.producer_address.clone(),
            producer_http: self.producer_http_address.clone(),
            nsqd: self.nsqd_address.clone(),
            lookupd: self.nsq_lookup_address.clone(),
            ..NsqConfig::default()
        };
        if config.producer.is_none() && config.nsqd.is_empty() && config.lookupd.is_empty() {
            return Err(QueueError::Invalid(
                "QUEUE: 'nsq' was given without an address; expected PRODUCER_ADDRESS, \
                 NSQ_LOOKUP_ADDRESS or NSQD_ADDRESS beside it"
                    .to_owned(),
            ));
        }
        Queue::nsq(config)
    }
}

fn host_and_port(address: &str) -> Result<String, String> {
    let refused = || "not of the form HOST:PORT".to_owned();
    let (host, port) = address.rsplit_once(':').ok_or_else(refused)?;
    let bare_ipv6 = host.contains(':') && !host.starts_with('[');
    let strange = |character: char| character.is_whitespace() || character == '/';
    if host.is_empty()
        || host.contains(strange)
        || bare_ipv6
        || port.parse::<u16>().map_or(true, |port| port == 0)
    {
        return Err(refused());
    }
    Ok(address.to_owned())
}

fn lookup_address(address: &str) -> Result<String, String> {
    let bare = address.strip_prefix("http://").unwrap_or(address);
    host_and_port(bare.strip_suffix('/').unwrap_or(bare)).map(|_| address.to_owned())
}
