//! The settings as command line flags and environment variables.

use std::time::Duration;

use crate::breaker::{Rate, SlowCalls, Span};
use crate::discovery::{DiscoverySettings, TargetAddress};
use crate::error::BuildError;
use crate::settings::Settings;
use crate::target::{Target, TargetBuilder};
use crate::tls::TlsArgs;

/// Calls that a rate is taken of at least, where it is given as an argument.
const MINIMUM_CALLS: u32 = 20;

/// The time that a rate is taken over, where it is given as an argument.
const RATE_OVER: Duration = Duration::from_secs(10);

/// The settings of a service's targets, to flatten into its arguments. Times are numbers with `ms`, `s` or `m`;
/// without a unit they are seconds.
///
/// ```
/// use clap::Parser;
/// use safelight_mesh::{MeshArgs, Probe};
///
/// #[derive(Parser)]
/// struct Arguments {
///     #[command(flatten)]
///     mesh: MeshArgs,
/// }
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let arguments = Arguments::parse();
/// let recognizer = arguments.mesh.target("recognizer", "dns:///recognizer:50051")?.connect()?;
/// # drop(recognizer);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Mesh")]
pub struct MeshArgs {
    /// Failures in a row that open a circuit
    #[arg(long = "mesh-consecutive-failures", env = "MESH_CONSECUTIVE_FAILURES", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub consecutive_failures: u32,
    /// The part of failed calls, above 0 and up to 1, that opens a circuit: of at least 20 calls in ten seconds; off
    /// by default
    #[arg(long = "mesh-failure-rate", env = "MESH_FAILURE_RATE", value_parser = parse_part)]
    pub failure_rate: Option<f64>,
    /// A call that takes longer is slow, and a circuit opens when half of the calls are: of at least 20 in ten
    /// seconds; off by default
    #[arg(long = "mesh-slow-call", env = "MESH_SLOW_CALL", value_parser = parse_time)]
    pub slow_call: Option<Duration>,
    /// The length of the first break of an open circuit; each further one is twice as long
    #[arg(long = "mesh-open-first", env = "MESH_OPEN_FIRST", default_value = "1s", value_parser = parse_time)]
    pub open_first: Duration,
    /// The length that no break exceeds
    #[arg(long = "mesh-open-longest", env = "MESH_OPEN_LONGEST", default_value = "60s", value_parser = parse_time)]
    pub open_longest: Duration,
    /// What a call may take, waiting for a connection included
    #[arg(long = "mesh-deadline", env = "MESH_DEADLINE", default_value = "30s", value_parser = parse_time)]
    pub deadline: Duration,
    /// What one attempt to connect may take
    #[arg(long = "mesh-connect-timeout", env = "MESH_CONNECT_TIMEOUT", default_value = "1s", value_parser = parse_time)]
    pub connect_timeout: Duration,
    /// The time between HTTP/2 pings
    #[arg(long = "mesh-keepalive-interval", env = "MESH_KEEPALIVE_INTERVAL", default_value = "10s", value_parser = parse_time)]
    pub keepalive_interval: Duration,
    /// A ping that stays unanswered for so long ends the connection
    #[arg(long = "mesh-keepalive-timeout", env = "MESH_KEEPALIVE_TIMEOUT", default_value = "5s", value_parser = parse_time)]
    pub keepalive_timeout: Duration,
    /// Sent data that stays unacknowledged for so long ends the connection
    #[arg(long = "mesh-tcp-user-timeout", env = "MESH_TCP_USER_TIMEOUT", default_value = "15s", value_parser = parse_time)]
    pub tcp_user_timeout: Duration,
    /// The time between two probes of a service that is away
    #[arg(long = "mesh-probe-interval", env = "MESH_PROBE_INTERVAL", default_value = "1s", value_parser = parse_time)]
    pub probe_interval: Duration,
    /// What one probe may take
    #[arg(long = "mesh-probe-timeout", env = "MESH_PROBE_TIMEOUT", default_value = "1s", value_parser = parse_time)]
    pub probe_timeout: Duration,
    /// How often a call that may be repeated is tried in all
    #[arg(long = "mesh-tries", env = "MESH_TRIES", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub tries: u32,
    /// Further tries as a part of the first ones, 0 to 1; one a second is always allowed
    #[arg(long = "mesh-retry-budget", env = "MESH_RETRY_BUDGET", default_value_t = 0.2, value_parser = parse_budget)]
    pub retry_budget: f64,
    /// A call that may be repeated and has no answer after this time is tried at a second endpoint as well; off by
    /// default
    #[arg(long = "mesh-hedge-after", env = "MESH_HEDGE_AFTER", value_parser = parse_time)]
    pub hedge_after: Option<Duration>,
    /// Calls in flight to one target
    #[arg(long = "mesh-in-flight", env = "MESH_IN_FLIGHT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub in_flight: u32,
    /// Calls that wait for one of those to end; one more fails at once
    #[arg(long = "mesh-waiting", env = "MESH_WAITING", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub waiting: u32,
    /// The time in which an endpoint that is new or well again comes to its full share
    #[arg(long = "mesh-ramp", env = "MESH_RAMP", default_value = "2s", value_parser = parse_time)]
    pub ramp: Duration,
    /// The time between two lookups of a target's name
    #[arg(long = "mesh-lookup-interval", env = "MESH_LOOKUP_INTERVAL", default_value = "5s", value_parser = parse_time)]
    pub lookup_interval: Duration,
    /// Mutual TLS
    #[command(flatten)]
    pub tls: TlsArgs,
}

// === impl MeshArgs ===

impl MeshArgs {
    /// Begins to make a target with these settings. `name` and `address` are as in [`Target::builder`].
    ///
    /// # Errors
    /// TLS that is configured and cannot be set up. All else is told by [`TargetBuilder::connect`].
    pub fn target(&self, name: &str, address: &str) -> Result<TargetBuilder, BuildError> {
        let builder = Target::builder(name, address)
            .settings(self.settings())
            .discovery(self.discovery());
        // An address that cannot be is refused where the target is made.
        let Ok(parsed) = TargetAddress::parse(address) else {
            return Ok(builder);
        };
        Ok(match self.tls.client(name, parsed.host())? {
            Some(tls) => builder.tls(tls),
            None => builder,
        })
    }

    /// How names are followed by these arguments.
    pub fn discovery(&self) -> DiscoverySettings {
        let defaults = DiscoverySettings::default();
        DiscoverySettings {
            interval: self.lookup_interval,
            least: defaults.least.min(self.lookup_interval),
            ..defaults
        }
    }

    /// The settings that these arguments make. What belongs together, such as a first and a longest time, is
    /// checked when a target is built.
    pub fn settings(&self) -> Settings {
        let rate = |threshold| Rate {
            threshold,
            minimum_calls: MINIMUM_CALLS,
            over: Span::Time(RATE_OVER),
        };
        Settings {
            consecutive_failures: self.consecutive_failures,
            failure_rate: self.failure_rate.map(rate),
            slow_calls: self.slow_call.map(|slower_than| SlowCalls {
                slower_than,
                rate: rate(0.5),
            }),
            open_first: self.open_first,
            open_longest: self.open_longest,
            deadline: self.deadline,
            connect_timeout: self.connect_timeout,
            keepalive_interval: self.keepalive_interval,
            keepalive_timeout: self.keepalive_timeout,
            tcp_user_timeout: self.tcp_user_timeout,
            probe_interval: self.probe_interval,
            probe_timeout: self.probe_timeout,
            tries: self.tries,
            retry_budget: self.retry_budget,
            hedge_after: self.hedge_after,
            in_flight_limit: self.in_flight as usize,
            wait_limit: self.waiting as usize,
            ramp: self.ramp,
            ..Settings::default()
        }
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a time such as 500ms, 1.5s or 2m, from {LEAST:?} to {MOST:?}");
    let unit_at = text
        .find(|letter: char| letter.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.trim().parse().map_err(|_| expected())?;
    let seconds = match unit {
        "ms" => number / 1_000.0,
        "s" | "" => number,
        "m" => number * 60.0,
        _ => return Err(expected()),
    };
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| expected())?;
    if time < LEAST || time > MOST {
        return Err(expected());
    }
    Ok(time)
}

fn parse_part(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(part) if part > 0.0 && part <= 1.0 => Ok(part),
        _ => Err("expected a number above 0 and up to 1, such as 0.5".to_owned()),
    }
}

fn parse_budget(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(part),
        _ => Err("expected a number from 0 to 1, such as 0.2".to_owned()),
    }
}

const LEAST: Duration = crate::settings::SHORTEST;
const MOST: Duration = crate::settings::LONGEST;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        mesh: MeshArgs,
    }

    #[test]
    fn without_arguments_the_settings_are_the_defaults() {
        let program = Program::try_parse_from(["program"]).unwrap();
        assert_eq!(program.mesh.settings(), Settings::default());
        assert_eq!(program.mesh.discovery(), DiscoverySettings::default());
    }

    #[test]
    fn times_have_units() {
        let line = [
            "program",
            "--mesh-deadline",
            "1500ms",
            "--mesh-open-longest",
            "2m",
            "--mesh-probe-interval",
            "0.5",
        ];
        let settings = Program::try_parse_from(line).unwrap().mesh.settings();
        assert_eq!(settings.deadline, Duration::from_millis(1500));
        assert_eq!(settings.open_longest, Duration::from_secs(120));
        assert_eq!(settings.probe_interval, Duration::from_millis(500));
    }

    #[test]
    fn a_time_that_cannot_be_is_refused_with_what_was_expected() {
        for text in ["", "s", "-1s", "0", "1h", "1e400", "nan", "2000000s"] {
            let refused = parse_time(text).unwrap_err();
            assert!(refused.contains("expected a time"), "{text}: {refused}");
        }
    }

    #[test]
    fn what_is_off_by_default_can_be_asked_for() {
        let asked = [
            "program",
            "--mesh-failure-rate=0.5",
            "--mesh-slow-call=2s",
            "--mesh-hedge-after=300ms",
        ];
        let settings = Program::try_parse_from(asked).unwrap().mesh.settings();
        assert_eq!(settings.failure_rate.map(|rate| rate.threshold), Some(0.5));
        assert_eq!(
            settings.slow_calls.map(|slow| slow.slower_than),
            Some(Duration::from_secs(2))
        );
        assert_eq!(settings.hedge_after, Some(Duration::from_millis(300)));
        assert_eq!(settings.validate(), Ok(()));
    }

    #[test]
    fn a_part_that_cannot_be_is_refused_with_what_was_expected() {
        for wrong in ["0", "1.5", "-1", "NaN", "half"] {
            assert!(
                parse_part(wrong).unwrap_err().contains("expected a number"),
                "{wrong}"
            );
        }
        assert!(parse_budget("2").unwrap_err().contains("from 0 to 1"));
    }

    #[tokio::test]
    async fn half_a_tls_configuration_is_no_target() {
        let line = ["program", "--mesh-tls-ca=/ca"];
        let mesh = Program::try_parse_from(line).unwrap().mesh;
        let refused = mesh.target("recognizer", "dns:///recognizer:50051").unwrap_err();
        assert!(refused.to_string().contains("missing MESH_TLS_CERT"), "{refused}");
    }

    #[test]
    fn at_least_one_failure_opens_a_circuit() {
        assert!(Program::try_parse_from(["program", "--mesh-consecutive-failures", "0"]).is_err());
    }
}
