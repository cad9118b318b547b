//! What a target can be told, and the defaults.

use std::time::Duration;

use crate::breaker::{Policy, Rate, SlowCalls, Span};

/// The settings of a [`Target`](crate::Target).
///
/// ```
/// use safelight_mesh::Settings;
/// use std::time::Duration;
///
/// let settings = Settings { deadline: Duration::from_secs(5), ..Settings::default() };
/// assert!(settings.validate().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Failures in a row that open the circuit; at least 1, by default 5.
    pub consecutive_failures: u32,
    /// The part of failed calls that opens a circuit; off. Of several endpoints at most half are shut out so.
    pub failure_rate: Option<Rate>,
    /// The part of slow calls that opens a circuit; off. Of several endpoints at most half are shut out so.
    pub slow_calls: Option<SlowCalls>,
    /// The length of the first break, 1 s. Each further one is twice as long, until the circuit has stayed closed for
    /// as long as the last one was.
    pub open_first: Duration,
    /// The length that no break exceeds, 60 s.
    pub open_longest: Duration,
    /// The part by which a break may be shorter or longer, 0 to 1, by default 0.2. It keeps the clients of one
    /// server from coming back in step.
    pub open_jitter: f64,
    /// What a call may take from its start to the end of its body, waiting for a connection included; 30 s.
    /// A shorter `grpc-timeout` in the request prevails. It goes along as `grpc-timeout`.
    pub deadline: Duration,
    /// What one attempt to connect may take, names looked up and all addresses tried; 1 s.
    pub connect_timeout: Duration,
    /// The time between HTTP/2 pings, on idle connections too; 10 s. Doubled for a server that complains of
    /// too many pings.
    pub keepalive_interval: Duration,
    /// A ping that stays unanswered for so long ends the connection; 5 s.
    pub keepalive_timeout: Duration,
    /// Sent data that stays unacknowledged for so long ends the connection (`TCP_USER_TIMEOUT`, where the system
    /// has it); 15 s.
    pub tcp_user_timeout: Duration,
    /// The time between two probes, or two attempts to connect, of a target that is not well; 1 s. Each time is
    /// up to a fifth shorter, so that clients fall out of step.
    pub probe_interval: Duration,
    /// What one probe may take; 1 s.
    pub probe_timeout: Duration,
    /// How often a call that may be repeated is tried in all, the first try included; at least 1, by default 3. What
    /// certainly was not processed goes to another endpoint beside this count.
    pub tries: u32,
    /// Whether a call that may be repeated is tried again when its connection broke under it; yes. No where a request
    /// may itself be what kills a server, and must not be handed on to the next one at once.
    pub retry_broken: bool,
    /// Tries beyond the first as a part of the first tries that ended in the last ten seconds, 0 to 1; 0.2.
    pub retry_budget: f64,
    /// Tries beyond the first that are allowed each second where that part gives less; 1.
    pub retry_floor: f64,
    /// What a further try at the *same* endpoints waits at first; doubled for each more, with jitter; 50 ms.
    pub retry_backoff: Duration,
    /// A call that may be repeated and is not answered in this time is tried at another endpoint beside, within the
    /// budget; off. A good value is what one call in twenty exceeds.
    pub hedge_after: Option<Duration>,
    /// Bytes of a request that are kept to send it again; a larger one is sent once. 64 KiB.
    pub replay_limit: usize,
    /// Calls in flight, to the end of their responses; at least 1, by default 1,024.
    pub in_flight_limit: usize,
    /// Calls that wait for one of those to end; more are refused. 1,024.
    pub wait_limit: usize,
    /// The time in which an endpoint that is new or well again comes to its full share; 2 s.
    pub ramp: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_rate: None,
            slow_calls: None,
            open_first: Duration::from_secs(1),
            open_longest: Duration::from_secs(60),
            open_jitter: 0.2,
            deadline: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(1),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            tcp_user_timeout: Duration::from_secs(15),
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(1),
            tries: 3,
            retry_broken: true,
            retry_budget: 0.2,
            retry_floor: 1.0,
            retry_backoff: Duration::from_millis(50),
            hedge_after: None,
            replay_limit: 64 << 10,
            in_flight_limit: 1_024,
            wait_limit: 1_024,
            ramp: Duration::from_secs(2),
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}, expected {expected}")]
pub struct SettingsError {
    /// The field of [`Settings`].
    pub setting: &'static str,
    /// What it is.
    pub value: String,
    /// What it may be.
    pub expected: &'static str,
}

// === impl Settings ===

impl Settings {
    /// The policy of a circuit by these settings.
    pub fn policy(&self) -> Policy {
        Policy {
            consecutive_failures: self.consecutive_failures,
            failure_rate: self.failure_rate,
            slow_calls: self.slow_calls,
            open_first: self.open_first,
            open_longest: self.open_longest,
            open_jitter: self.open_jitter,
            trial_longest: self.deadline,
            ..Policy::default()
        }
    }

    /// Checks every value.
    ///
    /// # Errors
    /// Names the first setting that cannot be.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let checks = [
            (
                "consecutive_failures",
                self.consecutive_failures.to_string(),
                self.consecutive_failures >= 1,
                "at least 1",
            ),
            (
                "open_jitter",
                self.open_jitter.to_string(),
                (0.0..=1.0).contains(&self.open_jitter),
                "a number from 0 to 1",
            ),
            (
                "open_longest",
                format!("{:?}", self.open_longest),
                self.open_longest >= self.open_first,
                "at least open_first",
            ),
            ("tries", self.tries.to_string(), self.tries >= 1, "at least 1"),
            (
                "retry_budget",
                self.retry_budget.to_string(),
                (0.0..=1.0).contains(&self.retry_budget),
                "a number from 0 to 1",
            ),
            (
                "retry_floor",
                self.retry_floor.to_string(),
                self.retry_floor.is_finite() && self.retry_floor >= 0.0,
                "a number from 0",
            ),
            (
                "in_flight_limit",
                self.in_flight_limit.to_string(),
                self.in_flight_limit >= 1,
                "at least 1",
            ),
        ];
        for (setting, value, holds, expected) in checks {
            if !holds {
                return Err(SettingsError {
                    setting,
                    value,
                    expected,
                });
            }
        }
        let durations = [
            ("open_first", self.open_first),
            ("open_longest", self.open_longest),
            ("deadline", self.deadline),
            ("connect_timeout", self.connect_timeout),
            ("keepalive_interval", self.keepalive_interval),
            ("keepalive_timeout", self.keepalive_timeout),
            ("tcp_user_timeout", self.tcp_user_timeout),
            ("probe_interval", self.probe_interval),
            ("probe_timeout", self.probe_timeout),
            ("retry_backoff", self.retry_backoff),
            ("ramp", self.ramp),
        ];
        let optional = [
            ("hedge_after", self.hedge_after),
            (
                "slow_calls.slower_than",
                self.slow_calls.map(|slow| slow.slower_than),
            ),
        ];
        let given = optional
            .into_iter()
            .filter_map(|(setting, value)| Some((setting, value?)));
        for (setting, value) in durations.into_iter().chain(given) {
            if value < SHORTEST || value > LONGEST {
                return Err(SettingsError {
                    setting,
                    value: format!("{value:?}"),
                    expected: "a time from 1 ms to 1 day",
                });
            }
        }
        if let Some(rate) = &self.failure_rate {
            rate.validate("failure_rate")?;
        }
        if let Some(slow) = &self.slow_calls {
            slow.rate.validate("slow_calls.rate")?;
        }
        Ok(())
    }
}

// === impl Rate ===

impl Rate {
    fn validate(&self, setting: &'static str) -> Result<(), SettingsError> {
        let refused = |value: String, expected| {
            Err(SettingsError {
                setting,
                value,
                expected,
            })
        };
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            return refused(self.threshold.to_string(), "a threshold above 0 and up to 1");
        }
        match self.over {
            Span::Calls(0) => refused("over no calls".to_owned(), "a window of at least one call"),
            Span::Time(time) if time < SHORTEST || time > LONGEST => {
                refused(format!("over {time:?}"), "a window from 1 ms to 1 day")
            }
            _ => Ok(()),
        }
    }
}

pub(crate) const SHORTEST: Duration = Duration::from_millis(1);
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Settings::default().validate(), Ok(()));
    }

    #[test]
    fn a_setting_that_cannot_be_is_named() {
        let named = |settings: Settings| settings.validate().map_err(|error| error.setting);
        let defaults = Settings::default;
        assert_eq!(
            named(Settings {
                consecutive_failures: 0,
                ..defaults()
            }),
            Err("consecutive_failures")
        );
        assert_eq!(
            named(Settings {
                open_jitter: f64::NAN,
                ..defaults()
            }),
            Err("open_jitter")
        );
        assert_eq!(
            named(Settings {
                open_jitter: 1.5,
                ..defaults()
            }),
            Err("open_jitter")
        );
        assert_eq!(
            named(Settings {
                open_longest: Duration::from_millis(5),
                ..defaults()
            }),
            Err("open_longest")
        );
        assert_eq!(
            named(Settings {
                deadline: Duration::ZERO,
                ..defaults()
            }),
            Err("deadline")
        );
        assert_eq!(
            named(Settings {
                probe_timeout: Duration::MAX,
                ..defaults()
            }),
            Err("probe_timeout")
        );
        let rate = |threshold, over| Rate {
            threshold,
            minimum_calls: 20,
            over,
        };
        for wrong in [
            rate(0.0, Span::Calls(100)),
            rate(f64::NAN, Span::Calls(100)),
            rate(1.01, Span::Calls(100)),
            rate(0.5, Span::Calls(0)),
            rate(0.5, Span::Time(Duration::ZERO)),
        ] {
            let settings = Settings {
                failure_rate: Some(wrong),
                ..defaults()
            };
            assert_eq!(named(settings), Err("failure_rate"), "{wrong:?}");
        }
        let never = Settings {
            hedge_after: Some(Duration::ZERO),
            ..defaults()
        };
        assert_eq!(named(never), Err("hedge_after"));
    }
}
