//! nsqd's answer to IDENTIFY.

use std::time::Duration;

use serde::Deserialize;

use super::auth::Authorization;
use crate::error::ConnectionError;

/// What nsqd itself assumes where IDENTIFY was answered with a bare `OK`.
const ASSUMED_MAX_RDY: u32 = 2500;
const ASSUMED_MSG_TIMEOUT: Duration = Duration::from_secs(60);
const ASSUMED_MAX_MSG_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// What nsqd granted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Negotiated {
    /// The largest RDY it takes.
    pub max_rdy_count: u32,
    /// How long it waits for the answer to a message.
    pub msg_timeout: Duration,
    /// How long touching can stretch that, counted from the delivery.
    pub max_msg_timeout: Duration,
    /// Its version, where it said.
    pub version: Option<String>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// How the connection is compressed.
    pub compression: Option<Compressed>,
    /// The largest level of deflate it would use, where it said.
    pub max_deflate_level: Option<u8>,
    /// The share of the channel's messages that a consumer gets, in percent; `None` for all.
    pub sample_rate: Option<u8>,
    /// How many bytes it gathers before it writes, where it said.
    pub output_buffer_size: Option<u32>,
    /// How long it gathers before it writes, where it said; zero if it has no timer.
    pub output_buffer_timeout: Option<Duration>,
    /// Whether it wants AUTH.
    pub auth_required: bool,
    /// What it answered to AUTH.
    pub authorization: Option<Authorization>,
}

/// How a connection is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compressed {
    /// By snappy.
    Snappy,
    /// By deflate.
    Deflate {
        /// The level that nsqd compresses with.
        level: u8,
    },
}

/// Every field may be missing: servers older than a feature do not name it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct IdentifyAnswer {
    max_rdy_count: Option<u32>,
    msg_timeout: Option<u64>,
    max_msg_timeout: Option<u64>,
    version: Option<String>,
    tls_v1: bool,
    snappy: bool,
    deflate: bool,
    deflate_level: Option<u8>,
    max_deflate_level: Option<u8>,
    sample_rate: Option<u8>,
    output_buffer_size: Option<u32>,
    output_buffer_timeout: Option<u64>,
    auth_required: bool,
}

// === impl Negotiated ===

impl Negotiated {
    /// Reads nsqd's answer to IDENTIFY, a bare `OK` from a server without feature negotiation included.
    pub(crate) fn parse(answer: &[u8]) -> Result<Self, ConnectionError> {
        let answer: IdentifyAnswer = if answer == b"OK" {
            IdentifyAnswer::default()
        } else {
            object(answer).ok_or(ConnectionError::Protocol(
                "the answer to IDENTIFY is neither OK nor its JSON",
            ))?
        };
        let compression = match (answer.snappy, answer.deflate) {
            (false, false) => None,
            (true, false) => Some(Compressed::Snappy),
            (false, true) => Some(Compressed::Deflate {
                level: answer.deflate_level.unwrap_or(6),
            }),
            (true, true) => {
                return Err(ConnectionError::Protocol(
                    "both snappy and deflate were granted, of which nsqd takes one",
                ));
            }
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
            tls: answer.tls_v1,
            compression,
            max_deflate_level: answer.max_deflate_level,
            sample_rate: answer.sample_rate.filter(|rate| *rate > 0),
            output_buffer_size: answer.output_buffer_size,
            output_buffer_timeout: answer.output_buffer_timeout.map(Duration::from_millis),
            auth_required: answer.auth_required,
            authorization: None,
        })
    }
}

/// Reads a JSON object. serde would take a list for a struct, too, and an empty one for one that leaves
/// everything out.
pub(super) fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    if !json.starts_with(b"{") {
        return None;
    }
    serde_json::from_slice(json).ok()
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

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
        for nothing in ["<html>", "[]", "", "null"] {
            assert!(Negotiated::parse(nothing.as_bytes()).is_err(), "{nothing}");
        }
    }

    #[test]
    fn everything_that_nsqd_grants_is_kept() {
        let answer =
            br#"{"max_rdy_count":2500,"version":"1.3.0","max_msg_timeout":900000,"msg_timeout":60000,
            "tls_v1":true,"deflate":true,"deflate_level":3,"max_deflate_level":6,"snappy":false,
            "sample_rate":42,"auth_required":true,"output_buffer_size":16384,"output_buffer_timeout":250}"#;
        let expected = Negotiated {
            max_rdy_count: 2500,
            msg_timeout: Duration::from_secs(60),
            max_msg_timeout: Duration::from_secs(900),
            version: Some("1.3.0".to_owned()),
            tls: true,
            compression: Some(Compressed::Deflate { level: 3 }),
            max_deflate_level: Some(6),
            sample_rate: Some(42),
            output_buffer_size: Some(16384),
            output_buffer_timeout: Some(Duration::from_millis(250)),
            auth_required: true,
            authorization: None,
        };
        assert_eq!(Negotiated::parse(answer).expect("valid"), expected);
    }

    #[test]
    fn two_compressions_at_once_are_refused() {
        assert!(Negotiated::parse(br#"{"snappy":true,"deflate":true}"#).is_err());
    }
}
