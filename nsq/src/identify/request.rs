//! The body of IDENTIFY.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::config::{Compression, ConnectionConfig};

/// How nsqd is told to do without.
const OFF: i64 = -1;

/// Durations are in milliseconds, as nsqd reads them (`nsqd/client_v2.go`, `identifyDataV2`). What is not
/// named stays as nsqd has it.
#[derive(Serialize)]
struct IdentifyBody<'a> {
    client_id: &'a str,
    hostname: &'a str,
    user_agent: &'a str,
    feature_negotiation: bool,
    heartbeat_interval: i64,
    output_buffer_timeout: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_buffer_size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_timeout: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample_rate: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topology_region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topology_zone: Option<&'a str>,
    #[serde(skip_serializing_if = "is_false")]
    tls_v1: bool,
    #[serde(skip_serializing_if = "is_false")]
    snappy: bool,
    #[serde(skip_serializing_if = "is_false")]
    deflate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deflate_level: Option<u8>,
}

// === impl ConnectionConfig ===

impl ConnectionConfig {
    /// The body of IDENTIFY.
    pub(crate) fn identify_body(&self) -> Bytes {
        let gathers = !self.output_buffer_timeout.is_zero();
        let (snappy, deflate_level) = match self.compression {
            Compression::None => (false, None),
            #[cfg(feature = "snappy")]
            Compression::Snappy => (true, None),
            #[cfg(feature = "deflate")]
            Compression::Deflate { level } => (false, Some(level)),
        };
        let body = IdentifyBody {
            client_id: &self.client_id,
            hostname: &self.hostname,
            user_agent: &self.user_agent,
            feature_negotiation: true,
            heartbeat_interval: if self.heartbeats {
                millis(self.heartbeat_interval)
            } else {
                OFF
            },
            // Without a timer, nsqd must have no buffer either, or it keeps what does not fill it.
            output_buffer_timeout: if gathers {
                millis(self.output_buffer_timeout)
            } else {
                OFF
            },
            output_buffer_size: if gathers {
                self.output_buffer_size.map(i64::from)
            } else {
                Some(OFF)
            },
            msg_timeout: self.msg_timeout.map(millis),
            sample_rate: self.sample_rate,
            topology_region: self.topology_region.as_deref(),
            topology_zone: self.topology_zone.as_deref(),
            #[cfg(feature = "tls")]
            tls_v1: self.tls.is_some(),
            #[cfg(not(feature = "tls"))]
            tls_v1: false,
            snappy,
            deflate: deflate_level.is_some(),
            deflate_level,
        };
        // A struct of strings and numbers always serializes.
        serde_json::to_vec(&body).unwrap_or_default().into()
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn body(config: &ConnectionConfig) -> Value {
        serde_json::from_slice(&config.identify_body()).expect("JSON")
    }

    #[test]
    fn what_is_left_to_nsqd_is_not_named() {
        let config = ConnectionConfig {
            client_id: "worker-1".into(),
            hostname: "host".into(),
            user_agent: "test".into(),
            ..ConnectionConfig::default()
        };
        let expected = json!({
            "client_id": "worker-1",
            "hostname": "host",
            "user_agent": "test",
            "feature_negotiation": true,
            "heartbeat_interval": 15_000,
            "output_buffer_timeout": 25,
        });
        assert_eq!(body(&config), expected);
    }

    #[test]
    fn what_is_asked_for_is_named_as_nsqd_knows_it() {
        let config = ConnectionConfig {
            heartbeats: false,
            output_buffer_timeout: Duration::from_millis(500),
            output_buffer_size: Some(4096),
            msg_timeout: Some(Duration::from_secs(5)),
            sample_rate: Some(42),
            topology_region: Some("eu".into()),
            topology_zone: Some("eu-1".into()),
            ..ConnectionConfig::default()
        };
        let body = body(&config);
        for (key, value) in [
            ("heartbeat_interval", json!(-1)),
            ("output_buffer_timeout", json!(500)),
            ("output_buffer_size", json!(4096)),
            ("msg_timeout", json!(5000)),
            ("sample_rate", json!(42)),
            ("topology_region", json!("eu")),
            ("topology_zone", json!("eu-1")),
        ] {
            assert_eq!(body[key], value, "{key}");
        }
    }

    #[test]
    fn an_nsqd_that_gathers_nothing_has_neither_timer_nor_buffer() {
        let config = ConnectionConfig {
            output_buffer_timeout: Duration::ZERO,
            output_buffer_size: Some(4096),
            ..ConnectionConfig::default()
        };
        let body = body(&config);
        assert_eq!(body["output_buffer_timeout"], -1);
        assert_eq!(body["output_buffer_size"], -1);
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn deflate_is_asked_for_with_its_level() {
        let config = ConnectionConfig {
            compression: Compression::Deflate { level: 3 },
            ..ConnectionConfig::default()
        };
        let body = body(&config);
        assert_eq!(
            (&body["deflate"], &body["deflate_level"]),
            (&json!(true), &json!(3))
        );
        assert_eq!(body.get("snappy"), None);
    }
}
