//! How often a name is looked up.

use std::time::Duration;

use crate::settings::{LONGEST, SHORTEST, SettingsError};

/// How a target's name is followed. What needs no lookup (IP addresses, `static:`, `unix:`) is not affected.
///
/// The times to live of DNS records are not heeded: a name is asked for again after the interval, whatever they
/// say, so that a service that scales is followed within seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct DiscoverySettings {
    /// The time between two lookups while all is well, 5 s. Each time is up to a fifth shorter or longer, so that
    /// clients fall out of step. Also the longest time between two lookups while they fail.
    pub interval: Duration,
    /// The time between two lookups is never shorter, however many connections break; 500 ms. While lookups fail,
    /// the time between two of them begins here and doubles.
    pub least: Duration,
    /// What one lookup may take, its repetitions and all search domains included; 2 s.
    pub timeout: Duration,
}

// === impl DiscoverySettings ===

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            least: Duration::from_millis(500),
            timeout: Duration::from_secs(2),
        }
    }
}

impl DiscoverySettings {
    /// Checks every value.
    ///
    /// # Errors
    /// Names the first setting that cannot be.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let times = [
            ("discovery.interval", self.interval),
            ("discovery.least", self.least),
            ("discovery.timeout", self.timeout),
        ];
        for (setting, value) in times {
            if value < SHORTEST || value > LONGEST {
                return Err(SettingsError {
                    setting,
                    value: format!("{value:?}"),
                    expected: "a time from 1 ms to 1 day",
                });
            }
        }
        if self.interval < self.least {
            return Err(SettingsError {
                setting: "discovery.interval",
                value: format!("{:?}", self.interval),
                expected: "at least discovery.least",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(DiscoverySettings::default().validate(), Ok(()));
    }

    #[test]
    fn a_setting_that_cannot_be_is_named() {
        let named = |settings: DiscoverySettings| settings.validate().map_err(|error| error.setting);
        let no_timeout = DiscoverySettings {
            timeout: Duration::ZERO,
            ..DiscoverySettings::default()
        };
        assert_eq!(named(no_timeout), Err("discovery.timeout"));
        let least_above_interval = DiscoverySettings {
            least: Duration::from_secs(6),
            ..DiscoverySettings::default()
        };
        assert_eq!(named(least_above_interval), Err("discovery.interval"));
    }
}
