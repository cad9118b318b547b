//! The settings as command line flags and environment variables.

use std::time::Duration;

use crate::settings::Settings;

/// The settings of a service's targets, to flatten into its arguments. Times are numbers with `ms`, `s` or `m`;
/// without a unit they are seconds.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Mesh")]
pub struct MeshArgs {
    /// Failures in a row that open a circuit
    #[arg(long = "mesh-consecutive-failures", env = "MESH_CONSECUTIVE_FAILURES", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub consecutive_failures: u32,
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
}

// === impl MeshArgs ===

impl MeshArgs {
    /// The settings that these arguments make. What belongs together, such as a first and a longest time, is
    /// checked when a target is built.
    pub fn settings(&self) -> Settings {
        Settings {
            consecutive_failures: self.consecutive_failures,
            open_first: self.open_first,
            open_longest: self.open_longest,
            deadline: self.deadline,
            connect_timeout: self.connect_timeout,
            keepalive_interval: self.keepalive_interval,
            keepalive_timeout: self.keepalive_timeout,
            tcp_user_timeout: self.tcp_user_timeout,
            probe_interval: self.probe_interval,
            probe_timeout: self.probe_timeout,
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
    fn at_least_one_failure_opens_a_circuit() {
        assert!(Program::try_parse_from(["program", "--mesh-consecutive-failures", "0"]).is_err());
    }
}
