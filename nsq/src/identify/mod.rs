//! Introducing ourselves: what we ask of nsqd, and what it grants.

mod auth;

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use auth::AuthSecret;

use crate::dialer::Dialer;
use crate::error::{ConfigError, ConnectionError};

/// What nsqd itself assumes where IDENTIFY was answered with a bare `OK`.
const ASSUMED_MAX_RDY: u32 = 2500;
const ASSUMED_MSG_TIMEOUT: Duration = Duration::from_secs(60);
const ASSUMED_MAX_MSG_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// How one connection is made and kept. The defaults suit most.
#[derive(Debug, Clone)]
pub struct ConnectionConfig {
    /// Tells this client from others in nsqd's statistics. Default: the hostname.
    pub client_id: String,
    /// Default: this machine's name.
    pub hostname: String,
    /// Default: `async-nsq/VERSION`.
    pub user_agent: String,
    /// How often nsqd asks whether we are alive; from 1 s to nsqd's `--max-heartbeat-interval` (60 s).
    /// A connection on which nothing was heard for twice this time is given up. Default 15 s.
    pub heartbeat_interval: Duration,
    /// How long nsqd waits for the answer to a message before it gives it to somebody else; `None` for
    /// nsqd's own setting (60 s), and at most its `--max-msg-timeout` (15 min).
    pub msg_timeout: Option<Duration>,
    /// How many bytes nsqd may gather before it writes to us; `None` for its own setting (16 KiB).
    pub output_buffer_size: Option<u32>,
    /// How long nsqd may gather before it writes to us. Not below its `--min-output-buffer-timeout`
    /// (25 ms). Default 25 ms; nsqd's own 250 ms would be felt with few messages.
    pub output_buffer_timeout: Duration,
    /// The time for resolving, connecting and IDENTIFY together. Default 5 s.
    pub handshake_timeout: Duration,
    /// A connection on which nsqd takes no byte for so long is given up. Default 10 s.
    pub write_timeout: Duration,
    /// Frames longer than this are refused before memory is taken for them. Default 16 MiB.
    pub max_frame_size: usize,
    /// The longest first wait before connecting again. Default 100 ms; it doubles with every failure.
    pub reconnect_first: Duration,
    /// The longest wait before connecting again. Default 10 s.
    pub reconnect_longest: Duration,
    /// Another way to connect than TCP. Default none.
    pub dialer: Option<Dialer>,
}

/// What nsqd granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// The largest RDY it takes.
    pub max_rdy_count: u32,
    /// How long it waits for the answer to a message.
    pub msg_timeout: Duration,
    /// How long touching can stretch that, counted from the delivery.
    pub max_msg_timeout: Duration,
    /// Its version, where it said.
    pub version: Option<String>,
    /// Whether it wants AUTH, which this client cannot give.
    pub auth_required: bool,
}

/// Durations are in milliseconds, as nsqd reads them.
#[derive(Serialize)]
struct IdentifyBody<'a> {
    client_id: &'a str,
    hostname: &'a str,
    user_agent: &'a str,
    feature_negotiation: bool,
    heartbeat_interval: u64,
    output_buffer_timeout: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_buffer_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    msg_timeout: Option<u64>,
}

/// Every field may be missing: servers older than a feature do not name it.
#[derive(Deserialize)]
struct IdentifyAnswer {
    max_rdy_count: Option<u32>,
    msg_timeout: Option<u64>,
    max_msg_timeout: Option<u64>,
    version: Option<String>,
    #[serde(default)]
    auth_required: bool,
}

// === impl ConnectionConfig ===

impl Default for ConnectionConfig {
    fn default() -> Self {
        let hostname = hostname();
        Self {
            client_id: hostname.clone(),
            hostname,
            user_agent: concat!("async-nsq/", env!("CARGO_PKG_VERSION")).to_owned(),
            heartbeat_interval: Duration::from_secs(15),
            msg_timeout: None,
            output_buffer_size: None,
            output_buffer_timeout: Duration::from_millis(25),
            handshake_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(10),
            max_frame_size: 16 * 1024 * 1024,
            reconnect_first: Duration::from_millis(100),
            reconnect_longest: Duration::from_secs(10),
            dialer: None,
        }
    }
}

impl ConnectionConfig {
    /// Finds what cannot work with any nsqd.
    ///
    /// # Errors
    /// [`ConfigError`] names the field and what was expected.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let rule = |holds, field, expected| {
            if holds {
                Ok(())
            } else {
                Err(ConfigError { field, expected })
            }
        };
        let second = Duration::from_secs(1);
        rule(
            self.heartbeat_interval >= second,
            "heartbeat_interval",
            "at least 1 s",
        )?;
        rule(
            self.msg_timeout
                .is_none_or(|timeout| timeout >= Duration::from_millis(1)),
            "msg_timeout",
            "at least 1 ms",
        )?;
        rule(
            self.output_buffer_timeout >= Duration::from_millis(1),
            "output_buffer_timeout",
            "at least 1 ms",
        )?;
        rule(
            self.output_buffer_size.is_none_or(|size| size >= 64),
            "output_buffer_size",
            "at least 64 bytes",
        )?;
        rule(
            !self.handshake_timeout.is_zero(),
            "handshake_timeout",
            "more than nothing",
        )?;
        rule(
            !self.write_timeout.is_zero(),
            "write_timeout",
            "more than nothing",
        )?;
        rule(
            self.max_frame_size >= 1024,
            "max_frame_size",
            "at least 1024 bytes",
        )?;
        rule(
            !self.reconnect_first.is_zero(),
            "reconnect_first",
            "more than nothing",
        )
    }

    /// The body of IDENTIFY.
    pub(crate) fn identify_body(&self) -> Bytes {
        let body = IdentifyBody {
            client_id: &self.client_id,
            hostname: &self.hostname,
            user_agent: &self.user_agent,
            feature_negotiation: true,
            heartbeat_interval: millis(self.heartbeat_interval),
            output_buffer_timeout: millis(self.output_buffer_timeout),
            output_buffer_size: self.output_buffer_size,
            msg_timeout: self.msg_timeout.map(millis),
        };
        // A struct of strings and numbers always serializes.
        serde_json::to_vec(&body).unwrap_or_default().into()
    }

    /// The silence after which a connection is dead: nsqd sends a heartbeat every interval.
    pub(crate) fn read_timeout(&self) -> Duration {
        self.heartbeat_interval * 2
    }
}

// === impl Negotiated ===

impl Negotiated {
    /// Reads nsqd's answer to IDENTIFY, a bare `OK` from a server without feature negotiation included.
    pub(crate) fn parse(answer: &[u8]) -> Result<Self, ConnectionError> {
        let answer: IdentifyAnswer = if answer == b"OK" {
            IdentifyAnswer {
                max_rdy_count: None,
                msg_timeout: None,
                max_msg_timeout: None,
                version: None,
                auth_required: false,
            }
        } else {
            serde_json::from_slice(answer)
                .map_err(|_| ConnectionError::Protocol("the answer to IDENTIFY is neither OK nor its JSON"))?
        };
        Ok(Self {
            max_rdy_count: answer.max_rdy_count.unwrap_or(ASSUMED_MAX_RDY),
            msg_timeout: answer
                .msg_timeout
                .map_or(ASSUMED_MSG_TIMEOUT, Duration::from_millis),
            max_msg_timeout: answer
                .max_msg_timeout
                .map_or(ASSUMED_MAX_MSG_TIMEOUT, Duration::from_millis),
            version: answer.version,
            auth_required: answer.auth_required,
        })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// This machine's name as the kernel knows it. It only labels statistics, so not knowing it is no error.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"));
    let name = name.map(|name| name.trim().to_owned()).unwrap_or_default();
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_a_heartbeat_below_a_second_is_not() {
        let mut config = ConnectionConfig::default();
        assert_eq!(config.validate(), Ok(()));
        config.heartbeat_interval = Duration::from_millis(999);
        assert_eq!(
            config.validate().map_err(|error| error.field),
            Err("heartbeat_interval")
        );
    }

    #[test]
    fn an_answer_of_ok_or_of_few_fields_is_filled_up_with_what_nsqd_assumes() {
        let bare = Negotiated::parse(b"OK").expect("valid");
        assert_eq!(bare.max_rdy_count, 2500);
        let few =
            Negotiated::parse(br#"{"max_rdy_count":5,"msg_timeout":1500,"new":"thing"}"#).expect("valid");
        assert_eq!(
            (few.max_rdy_count, few.msg_timeout),
            (5, Duration::from_millis(1500))
        );
        assert!(Negotiated::parse(b"<html>").is_err());
    }
}
