//! Asking nsqlookupd who has a topic.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::ConfigError;
pub(crate) use crate::http::HttpError as LookupError;
use crate::http::{HttpConfig, LookupdHttp, Node};
use crate::name::Topic;

/// Thousands of nsqds fit into this.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Asks one nsqlookupd.
#[derive(Debug, Clone)]
pub(crate) struct LookupClient {
    server: LookupdHttp,
}

// === impl LookupClient ===

impl LookupClient {
    /// `address` is `host:port` or `http://host:port` of nsqlookupd's HTTP side.
    pub(crate) fn new(address: &str, timeout: Duration) -> Result<Self, ConfigError> {
        let config = HttpConfig {
            timeout,
            max_answer: MAX_ANSWER,
            ..HttpConfig::default()
        };
        LookupdHttp::new(address, config).map(|server| Self { server })
    }

    pub(crate) fn address(&self) -> &str {
        self.server.url()
    }

    /// The nsqds (`host:port`) that have the topic; none where nsqlookupd does not know it (404).
    ///
    /// Cancel safe.
    pub(crate) async fn producers(&self, topic: &Topic) -> Result<BTreeSet<String>, LookupError> {
        let found = self.server.lookup(topic).await?;
        let nodes = found.map(|lookup| lookup.producers).unwrap_or_default();
        Ok(nodes.iter().map(Node::tcp_address).collect())
    }
}
