//! Asking nsqlookupd who has a topic.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::time::timeout;
use url::Url;

use crate::error::ConfigError;
use crate::name::Topic;

/// Thousands of nsqds fit into this.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Asks one nsqlookupd.
#[derive(Debug, Clone)]
pub(crate) struct LookupClient {
    base: Url,
    http: Client<HttpConnector, Empty<Bytes>>,
    timeout: Duration,
}

/// Why an nsqlookupd gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("could not be asked: {0}")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("answered with status {0}")]
    Status(StatusCode),
    #[error("answered with something else than a list of producers")]
    Malformed,
}

/// An answer of today's nsqlookupd, or one of before 1.0, which wrapped it.
#[derive(Deserialize)]
#[serde(untagged)]
enum LookupAnswer {
    Wrapped { data: Producers },
    Bare(Producers),
}

#[derive(Deserialize)]
struct Producers {
    producers: Vec<ProducerInfo>,
}

#[derive(Deserialize)]
struct ProducerInfo {
    broadcast_address: String,
    tcp_port: u16,
}

// === impl LookupClient ===

impl LookupClient {
    /// `address` is `host:port` or `http://host:port` of nsqlookupd's HTTP side.
    pub(crate) fn new(address: &str, timeout: Duration) -> Result<Self, ConfigError> {
        let invalid = || ConfigError {
            field: "lookupd",
            expected: "host:port or http://host:port",
        };
        let url = if address.contains("://") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let base = Url::parse(&url).map_err(|_| invalid())?;
        if base.scheme() != "http" || base.host_str().is_none_or(str::is_empty) {
            return Err(invalid());
        }
        // Asked rarely, so a connection kept open would mostly be found dead.
        let http = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build_http();
        Ok(Self { base, http, timeout })
    }

    pub(crate) fn address(&self) -> &str {
        self.base.as_str()
    }

    /// The nsqds (`host:port`) that have the topic; none where nsqlookupd does not know it (404).
    ///
    /// Cancel safe.
    pub(crate) async fn producers(&self, topic: &Topic) -> Result<BTreeSet<String>, LookupError> {
        match timeout(self.timeout, self.ask(topic)).await {
            Ok(answer) => answer,
            Err(_) => Err(LookupError::Timeout(self.timeout)),
        }
    }

    async fn ask(&self, topic: &Topic) -> Result<BTreeSet<String>, LookupError> {
        let mut url = self.base.clone();
        url.set_path("/lookup");
        url.query_pairs_mut().clear().append_pair("topic", topic.as_str());
        let request = Request::get(url.as_str())
            .header(header::ACCEPT, "application/vnd.nsq; version=1.0")
            .body(Empty::new())
            .map_err(|error| LookupError::Unreachable(error.into()))?;
        let response = self
            .http
            .request(request)
            .await
            .map_err(|error| LookupError::Unreachable(error.into()))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(BTreeSet::new()),
            other => return Err(LookupError::Status(other)),
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(LookupError::Unreachable)?.to_bytes();
        parse(&body)
    }
}

fn parse(body: &[u8]) -> Result<BTreeSet<String>, LookupError> {
    let answer: LookupAnswer = serde_json::from_slice(body).map_err(|_| LookupError::Malformed)?;
    let (LookupAnswer::Wrapped { data: found } | LookupAnswer::Bare(found)) = answer;
    Ok(found.producers.iter().map(ProducerInfo::address).collect())
}

// === impl ProducerInfo ===

impl ProducerInfo {
    fn address(&self) -> String {
        let host = &self.broadcast_address;
        // An IPv6 address needs brackets before a port.
        if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]:{}", self.tcp_port)
        } else {
            format!("{host}:{}", self.tcp_port)
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_old_and_new_servers_are_understood() {
        let bare = br#"{"channels":["c"],"producers":[{"broadcast_address":"n1","tcp_port":4150,"version":"1.3.0"}]}"#;
        let wrapped =
            br#"{"status_code":200,"data":{"producers":[{"broadcast_address":"::1","tcp_port":4150}]}}"#;
        assert_eq!(
            parse(bare).expect("valid"),
            BTreeSet::from(["n1:4150".to_owned()])
        );
        assert_eq!(
            parse(wrapped).expect("valid"),
            BTreeSet::from(["[::1]:4150".to_owned()])
        );
        assert!(parse(b"[]").is_err());
        assert!(parse(b"not json").is_err());
    }

    #[test]
    fn an_address_is_taken_with_or_without_its_scheme_and_no_other_scheme_is() {
        let address =
            |text| LookupClient::new(text, Duration::from_secs(1)).map(|client| client.address().to_owned());
        assert_eq!(address("127.0.0.1:4161"), Ok("http://127.0.0.1:4161/".to_owned()));
        assert_eq!(
            address("http://lookup:4161"),
            Ok("http://lookup:4161/".to_owned())
        );
        assert!(address("ftp://lookup:4161").is_err());
        assert!(address("").is_err());
    }
}
