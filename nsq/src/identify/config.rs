//! What one connection is to be like.

use std::time::Duration;

use super::auth::AuthSecret;
use crate::dialer::Dialer;
use crate::error::{ConfigError, rule};
#[cfg(feature = "tls")]
use crate::transport::TlsConfig;

/// nsqd refuses heartbeats and message timeouts below this (`nsqd/client_v2.go`, `SetHeartbeatInterval` and
/// `SetMsgTimeout`).
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// Who waits longer has mistaken the unit.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// nsqd refuses smaller output buffers (`nsqd/client_v2.go`, `SetOutputBuffer`).
const SMALLEST_OUTPUT_BUFFER: u32 = 64;
/// nsqd refuses higher sample rates, and takes zero for none (`nsqd/client_v2.go`, `SetSampleRate`).
const SAMPLE_RATES: std::ops::RangeInclusive<u8> = 1..=99;

/// How one connection is made and kept. The defaults suit most: start from [`ConnectionConfig::default`]
/// and change what has to differ.
///
/// ```
/// use async_nsq::ConnectionConfig;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), async_nsq::ConfigError> {
/// let mut config = ConnectionConfig::default();
/// config.client_id = "billing-1".into();
/// config.msg_timeout = Some(Duration::from_secs(5 * 60));
/// config.auth_secret = Some("a secret".into());
/// config.validate()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
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
    /// Whether nsqd asks at all. Without it, a connection that has died silently is noticed only when
    /// something is written, and nsqd refuses to let it subscribe. Default `true`.
    pub heartbeats: bool,
    /// How long nsqd waits for the answer to a message before it gives it to somebody else; from 1 s to
    /// its `--max-msg-timeout` (15 min), or `None` for nsqd's own setting (60 s).
    pub msg_timeout: Option<Duration>,
    /// How many bytes nsqd may gather before it writes to us, from 64 to its `--max-output-buffer-size`
    /// (64 KiB); `None` for its own setting (16 KiB).
    pub output_buffer_size: Option<u32>,
    /// How long nsqd may gather before it writes to us, from its `--min-output-buffer-timeout` (25 ms) to
    /// its `--max-output-buffer-timeout` (30 s). Zero: it gathers nothing and writes every frame by
    /// itself, whatever the size of the buffer. Default 25 ms; nsqd's own 250 ms would be felt with few
    /// messages.
    pub output_buffer_timeout: Duration,
    /// Which share of its channel's messages this consumer wants, from 1 to 99 percent; nsqd *throws
    /// away* what is left over. Default `None`, for all.
    pub sample_rate: Option<u8>,
    /// Where this client runs, for an nsqd that prefers consumers near it (its experiment
    /// `topology-aware-consumption`, after 1.3.0; older ones pass over it). Default `None`.
    pub topology_region: Option<String>,
    /// As [`topology_region`](Self::topology_region), closer.
    pub topology_zone: Option<String>,
    /// Encrypts the connection, or fails: it never goes on in clear. Default `None`, in clear.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsConfig>,
    /// Compresses both directions where nsqd offers it, within TLS if there is TLS. An nsqd that does not
    /// offer it is used uncompressed, which [`Negotiated::compression`](super::Negotiated::compression)
    /// tells. Default none.
    pub compression: Compression,
    /// The secret for an nsqd that wants AUTH; any other is not told it. Default `None`.
    pub auth_secret: Option<AuthSecret>,
    /// The time for resolving, connecting, IDENTIFY, the layers and AUTH together. Default 5 s.
    pub handshake_timeout: Duration,
    /// A connection on which nsqd takes no byte for so long is given up. Default 10 s.
    pub write_timeout: Duration,
    /// Frames longer than this are refused before memory is taken for them. Default 16 MiB.
    pub max_frame_size: usize,
    /// The longest first wait before connecting again. Default 100 ms; it doubles with every failure.
    pub reconnect_first: Duration,
    /// The longest wait before connecting again. Default 10 s.
    pub reconnect_longest: Duration,
    /// Another way to connect than TCP or a Unix socket; the layers go on top of it as well. Default none.
    pub dialer: Option<Dialer>,
}

/// Which compression to ask nsqd for; it takes one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// Snappy: fast, and good for text.
    #[cfg(feature = "snappy")]
    Snappy,
    /// Deflate: smaller, and slow by comparison.
    #[cfg(feature = "deflate")]
    Deflate {
        /// From 1, fast, to 9, small; nsqd uses at most its `--max-deflate-level` (6), and so do we then.
        level: u8,
    },
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
            heartbeats: true,
            msg_timeout: None,
            output_buffer_size: None,
            output_buffer_timeout: Duration::from_millis(25),
            sample_rate: None,
            topology_region: None,
            topology_zone: None,
            #[cfg(feature = "tls")]
            tls: None,
            compression: Compression::None,
            auth_secret: None,
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
    /// Finds what cannot work with any nsqd. Limits that nsqd's own flags set, such as the longest
    /// heartbeat interval, are left to it: over them, it refuses IDENTIFY with
    /// [`ErrorCode::BadBody`](crate::ErrorCode::BadBody).
    ///
    /// # Errors
    /// [`ConfigError`] names the field and what was expected.
    pub fn validate(&self) -> Result<(), ConfigError> {
        rule(
            (SHORTEST_INTERVAL..=LONGEST).contains(&self.heartbeat_interval),
            "heartbeat_interval",
            "from 1 s to a day",
        )?;
        rule(
            self.msg_timeout
                .is_none_or(|timeout| timeout >= SHORTEST_INTERVAL),
            "msg_timeout",
            "at least 1 s",
        )?;
        rule(
            self.output_buffer_timeout.is_zero() || self.output_buffer_timeout >= Duration::from_millis(1),
            "output_buffer_timeout",
            "at least 1 ms, or zero",
        )?;
        rule(
            self.output_buffer_size
                .is_none_or(|size| size >= SMALLEST_OUTPUT_BUFFER),
            "output_buffer_size",
            "at least 64 bytes",
        )?;
        rule(
            self.sample_rate.is_none_or(|rate| SAMPLE_RATES.contains(&rate)),
            "sample_rate",
            "from 1 to 99",
        )?;
        rule(self.compression.is_valid(), "compression", "a level from 1 to 9")?;
        rule(
            self.auth_secret.as_ref().is_none_or(|secret| !secret.is_empty()),
            "auth_secret",
            "at least one byte",
        )?;
        for (time, field) in [
            (self.handshake_timeout, "handshake_timeout"),
            (self.write_timeout, "write_timeout"),
            (self.reconnect_first, "reconnect_first"),
            (self.reconnect_longest, "reconnect_longest"),
        ] {
            rule(
                !time.is_zero() && time <= LONGEST,
                field,
                "more than nothing, and at most a day",
            )?;
        }
        rule(
            self.max_frame_size >= 1024,
            "max_frame_size",
            "at least 1024 bytes",
        )
    }

    /// The silence after which a connection is dead: nsqd sends a heartbeat every interval. `None` where
    /// silence means nothing.
    pub(crate) fn read_timeout(&self) -> Option<Duration> {
        self.heartbeats.then(|| self.heartbeat_interval * 2)
    }
}

// === impl Compression ===

impl Compression {
    fn is_valid(self) -> bool {
        match self {
            Compression::None => true,
            #[cfg(feature = "snappy")]
            Compression::Snappy => true,
            #[cfg(feature = "deflate")]
            Compression::Deflate { level } => (1..=9).contains(&level),
        }
    }
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
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut ConnectionConfig)) -> Option<&'static str> {
        let mut config = ConnectionConfig::default();
        change(&mut config);
        config.validate().err().map(|error| error.field)
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(refused(|_| {}), None);
    }

    #[test]
    fn what_every_nsqd_refuses_is_refused_here_and_its_bounds_are_taken() {
        let millis = Duration::from_millis;
        assert_eq!(refused(|config| config.heartbeat_interval = millis(1000)), None);
        assert_eq!(
            refused(|config| config.heartbeat_interval = millis(999)),
            Some("heartbeat_interval")
        );
        assert_eq!(refused(|config| config.msg_timeout = Some(millis(1000))), None);
        assert_eq!(
            refused(|config| config.msg_timeout = Some(millis(999))),
            Some("msg_timeout")
        );
        assert_eq!(refused(|config| config.output_buffer_size = Some(64)), None);
        assert_eq!(
            refused(|config| config.output_buffer_size = Some(63)),
            Some("output_buffer_size")
        );
        assert_eq!(
            refused(|config| config.output_buffer_timeout = Duration::ZERO),
            None
        );
        assert_eq!(
            refused(|config| config.output_buffer_timeout = Duration::from_nanos(1)),
            Some("output_buffer_timeout")
        );
        for rate in [1, 99] {
            assert_eq!(refused(|config| config.sample_rate = Some(rate)), None);
        }
        for rate in [0, 100] {
            assert_eq!(
                refused(|config| config.sample_rate = Some(rate)),
                Some("sample_rate")
            );
        }
        assert_eq!(
            refused(|config| config.auth_secret = Some("".into())),
            Some("auth_secret")
        );
    }

    #[test]
    fn times_that_are_none_or_endless_are_refused() {
        for time in [Duration::ZERO, Duration::MAX] {
            assert_eq!(
                refused(|config| config.handshake_timeout = time),
                Some("handshake_timeout")
            );
            assert_eq!(
                refused(|config| config.write_timeout = time),
                Some("write_timeout")
            );
            assert_eq!(
                refused(|config| config.reconnect_first = time),
                Some("reconnect_first")
            );
            assert_eq!(
                refused(|config| config.reconnect_longest = time),
                Some("reconnect_longest")
            );
        }
        assert_eq!(
            refused(|config| config.heartbeat_interval = Duration::MAX),
            Some("heartbeat_interval")
        );
        assert_eq!(
            refused(|config| config.max_frame_size = 1023),
            Some("max_frame_size")
        );
    }

    #[cfg(feature = "deflate")]
    #[test]
    fn a_deflate_level_is_one_that_there_is() {
        for level in [1, 9] {
            assert_eq!(
                refused(|config| config.compression = Compression::Deflate { level }),
                None
            );
        }
        for level in [0, 10] {
            assert_eq!(
                refused(|config| config.compression = Compression::Deflate { level }),
                Some("compression")
            );
        }
    }
}
