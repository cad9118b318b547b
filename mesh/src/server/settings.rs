//! What a server can be told, and the defaults.

use std::time::Duration;

use crate::settings::{LONGEST, SHORTEST, SettingsError};

/// The settings of a [`Server`](super::Server).
///
/// How large a message may be is the service's own to say, with the `max_decoding_message_size` that tonic
/// generates; unless it does, 4 MiB.
///
/// ```
/// use safelight_mesh::server::ServerSettings;
/// use std::time::Duration;
///
/// let settings = ServerSettings { max_in_flight: 32, ..ServerSettings::default() };
/// assert!(settings.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// Calls that are worked on at once, from 1; 256. More are answered `RESOURCE_EXHAUSTED` at once. Health and
    /// reflection are not counted. It protects memory, and the time of the calls that are already taken.
    pub max_in_flight: usize,
    /// What a refused call is told to wait before it is made again, as `grpc-retry-pushback-ms`; by default it is
    /// told nothing, as a fixed time brings all who were refused back together.
    pub shed_pushback: Option<Duration>,
    /// Connections at once, from 1; 1,024. More are closed as they come. It protects file descriptors.
    pub max_connections: usize,
    /// Calls that one connection may have at once, from 1; 1,024. A client holds back what is over it, so it
    /// ought to be above `max_in_flight`: a refusal at once is better than an unseen queue.
    pub max_streams: u32,
    /// The size of a request's headers, in bytes as HTTP/2 counts them (RFC 9113, section 6.5.2), from 1,024;
    /// 16 KiB.
    pub max_header_bytes: u32,
    /// What a new connection may take for TLS, HTTP/2's preface and its first SETTINGS; 5 s. It protects against
    /// clients that open connections and say nothing.
    pub handshake_timeout: Duration,
    /// The time between HTTP/2 pings; 20 s. They find clients that are gone without a word.
    pub keepalive_interval: Duration,
    /// A ping that stays unanswered for so long ends the connection; 10 s.
    pub keepalive_timeout: Duration,
    /// A connection of this age is ended in good order, so that its client connects again and load spreads over
    /// servers that are new; by default connections grow as old as they like. Calls that run are finished.
    pub max_connection_age: Option<Duration>,
    /// The part by which that age may be shorter or longer, 0 to 1; 0.1. It keeps connections that were opened
    /// together from ending together.
    pub max_connection_age_jitter: f64,
    /// For how long after the stop calls and connections are still taken while health says `NOT_SERVING` already;
    /// none by default. It gives balancers that ask time to hear of it. It does not count into `drain`.
    pub notice: Duration,
    /// For how long what runs when the server stops may take to finish; 15 s. What still runs then is cut.
    pub drain: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            max_in_flight: 256,
            shed_pushback: None,
            max_connections: 1024,
            max_streams: 1024,
            max_header_bytes: 16 << 10,
            handshake_timeout: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            max_connection_age: None,
            max_connection_age_jitter: 0.1,
            notice: Duration::ZERO,
            drain: Duration::from_secs(15),
        }
    }
}

// === impl ServerSettings ===

impl ServerSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// Names the first setting that cannot be.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let counts = [
            ("max_in_flight", self.max_in_flight),
            ("max_connections", self.max_connections),
            ("max_streams", self.max_streams as usize),
        ];
        for (setting, value) in counts {
            if !(1..=MOST).contains(&value) {
                return Err(wrong(setting, value, "a number from 1 to a million"));
            }
        }
        if !(1 << 10..=1 << 24).contains(&self.max_header_bytes) {
            let value = self.max_header_bytes;
            return Err(wrong(
                "max_header_bytes",
                value,
                "a number of bytes from 1 KiB to 16 MiB",
            ));
        }
        if !(0.0..=1.0).contains(&self.max_connection_age_jitter) {
            let value = self.max_connection_age_jitter;
            return Err(wrong("max_connection_age_jitter", value, "a number from 0 to 1"));
        }
        let durations = [
            ("handshake_timeout", Some(self.handshake_timeout)),
            ("keepalive_interval", Some(self.keepalive_interval)),
            ("keepalive_timeout", Some(self.keepalive_timeout)),
            ("shed_pushback", self.shed_pushback),
            ("max_connection_age", self.max_connection_age),
            ("notice", Some(self.notice).filter(|notice| !notice.is_zero())),
            ("drain", Some(self.drain)),
        ];
        for (setting, value) in durations {
            if let Some(value) = value.filter(|value| !(SHORTEST..=LONGEST).contains(value)) {
                return Err(wrong(setting, format!("{value:?}"), "a time from 1 ms to 1 day"));
            }
        }
        Ok(())
    }

    /// The age at which one connection is ended, drawn anew for each.
    pub(super) fn connection_age(&self) -> Option<Duration> {
        let age = self.max_connection_age?;
        let jitter = self.max_connection_age_jitter;
        Some(age.mul_f64(rand::random_range(1.0 - jitter..=1.0 + jitter)))
    }
}

/// What tokio's semaphores and everybody's memory can bear with ease.
const MOST: usize = 1_000_000;

fn wrong(setting: &'static str, value: impl ToString, expected: &'static str) -> SettingsError {
    SettingsError {
        setting,
        value: value.to_string(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(ServerSettings::default().validate(), Ok(()));
    }

    #[test]
    fn a_setting_that_cannot_be_is_named() {
        let named = |change: fn(&mut ServerSettings)| {
            let mut settings = ServerSettings::default();
            change(&mut settings);
            settings.validate().unwrap_err().setting
        };
        assert_eq!(named(|settings| settings.max_in_flight = 0), "max_in_flight");
        assert_eq!(
            named(|settings| settings.max_connections = usize::MAX),
            "max_connections"
        );
        assert_eq!(named(|settings| settings.max_streams = 0), "max_streams");
        assert_eq!(
            named(|settings| settings.max_header_bytes = 100),
            "max_header_bytes"
        );
        assert_eq!(
            named(|settings| settings.max_connection_age_jitter = f64::NAN),
            "max_connection_age_jitter"
        );
        assert_eq!(named(|settings| settings.drain = Duration::ZERO), "drain");
        assert_eq!(named(|settings| settings.notice = Duration::MAX), "notice");
        assert_eq!(
            named(|settings| settings.shed_pushback = Some(Duration::ZERO)),
            "shed_pushback"
        );
    }

    #[test]
    fn the_age_of_connections_is_spread_by_its_jitter() {
        let settings = ServerSettings {
            max_connection_age: Some(Duration::from_secs(100)),
            ..ServerSettings::default()
        };
        let ages: Vec<Duration> = (0..100).filter_map(|_| settings.connection_age()).collect();
        assert_eq!(ages.len(), 100);
        for age in &ages {
            assert!(
                (Duration::from_secs(90)..=Duration::from_secs(110)).contains(age),
                "{age:?}"
            );
        }
        assert!(ages.iter().any(|age| age != &ages[0]));
    }
}
