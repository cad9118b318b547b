//! Where spans go and which of them, by OpenTelemetry's environment variables.

use std::time::Duration;

use axum::http::Uri;

/// Where spans go, and which of them.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpSettings {
    /// What they are sent to: `http://HOST:PORT/v1/traces`.
    pub endpoint: Uri,
    /// The name of this service in them.
    pub service: String,
    /// The part of the traces that begin here and are sampled, 0 to 1. Traces that begin elsewhere are sampled as
    /// their callers say.
    pub ratio: f64,
    /// For one batch, further tries and their pauses included; more than 0.
    pub timeout: Duration,
}

/// A variable with a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: '{given}' was given; expected {expected}")]
pub struct WrongOtlpSetting {
    variable: &'static str,
    given: String,
    expected: &'static str,
}

/// The variables as they are set; what is empty counts as not set, as OpenTelemetry's specification has it.
#[derive(Clone, Debug, Default)]
struct Variables {
    disabled: Option<String>,
    endpoint: Option<String>,
    traces_endpoint: Option<String>,
    protocol: Option<String>,
    timeout: Option<String>,
    ratio: Option<String>,
    service: Option<String>,
    resource: Option<String>,
}

/// What a signal's path is below the endpoint of all of them.
const PATH: &str = "/v1/traces";
const TIMEOUT: Duration = Duration::from_secs(10);
const ENDPOINT: &str = "an address without TLS, such as http://collector:4318";

// === impl OtlpSettings ===

impl OtlpSettings {
    /// What the environment says; `None` where it names no collector. `service` is the name that this service has
    /// where the environment gives it none.
    ///
    /// # Errors
    /// A variable that cannot be read.
    pub fn from_env(service: &str) -> Result<Option<Self>, WrongOtlpSetting> {
        Variables::read().settings(service)
    }
}

// === impl Variables ===

impl Variables {
    fn read() -> Self {
        let set = |value: Result<String, std::env::VarError>| value.ok().filter(|value| !value.is_empty());
        Self {
            disabled: set(std::env::var("OTEL_SDK_DISABLED")),
            endpoint: set(std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT")),
            traces_endpoint: set(std::env::var("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")),
            protocol: set(std::env::var("OTEL_EXPORTER_OTLP_PROTOCOL")),
            timeout: set(std::env::var("OTEL_EXPORTER_OTLP_TIMEOUT")),
            ratio: set(std::env::var("OTEL_TRACES_SAMPLER_ARG")),
            service: set(std::env::var("OTEL_SERVICE_NAME")),
            resource: set(std::env::var("OTEL_RESOURCE_ATTRIBUTES")),
        }
    }

    fn settings(self, service: &str) -> Result<Option<OtlpSettings>, WrongOtlpSetting> {
        if self
            .disabled
            .as_deref()
            .is_some_and(|it| it.eq_ignore_ascii_case("true"))
        {
            return Ok(None);
        }
        let endpoint = match (&self.traces_endpoint, &self.endpoint) {
            (Some(given), _) => read("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", given, ENDPOINT, |given| {
                address(given)
            })?,
            (None, Some(given)) => read("OTEL_EXPORTER_OTLP_ENDPOINT", given, ENDPOINT, |given| {
                address(given)?;
                format!("{}{PATH}", given.trim_end_matches('/')).parse().ok()
            })?,
            (None, None) => return Ok(None),
        };
        if let Some(given) = &self.protocol {
            let spoken = |given: &str| (given == "http/protobuf").then_some(());
            read("OTEL_EXPORTER_OTLP_PROTOCOL", given, "http/protobuf", spoken)?;
        }
        let timeout = match &self.timeout {
            Some(given) => {
                let expected = "milliseconds, 1 to 60000";
                read("OTEL_EXPORTER_OTLP_TIMEOUT", given, expected, milliseconds)?
            }
            None => TIMEOUT,
        };
        let ratio = match &self.ratio {
            Some(given) => {
                let expected = "the part of traces that are recorded, 0 to 1";
                read("OTEL_TRACES_SAMPLER_ARG", given, expected, ratio)?
            }
            None => 1.0,
        };
        let named = self.resource.as_deref().and_then(service_name);
        Ok(Some(OtlpSettings {
            endpoint,
            service: self.service.as_deref().or(named).unwrap_or(service).to_owned(),
            ratio,
            timeout,
        }))
    }
}

fn read<T>(
    variable: &'static str,
    given: &str,
    expected: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, WrongOtlpSetting> {
    read(given).ok_or_else(|| WrongOtlpSetting {
        variable,
        given: given.to_owned(),
        expected,
    })
}

fn address(given: &str) -> Option<Uri> {
    let uri: Uri = given.parse().ok()?;
    let whole = uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty());
    whole.then_some(uri)
}

fn milliseconds(given: &str) -> Option<Duration> {
    let millis = given.trim().parse().ok()?;
    (1..=60_000)
        .contains(&millis)
        .then(|| Duration::from_millis(millis))
}

fn ratio(given: &str) -> Option<f64> {
    let ratio = given.trim().parse().ok()?;
    (0.0..=1.0).contains(&ratio).then_some(ratio)
}

/// The name in `KEY=VALUE,KEY=VALUE`.
fn service_name(resource: &str) -> Option<&str> {
    let mut attributes = resource
        .split(',')
        .filter_map(|attribute| attribute.split_once('='));
    let (_, name) = attributes.find(|(key, _)| key.trim() == "service.name")?;
    Some(name.trim()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn given(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    fn on() -> Variables {
        Variables {
            endpoint: given("http://collector:4318"),
            ..Variables::default()
        }
    }

    #[test]
    fn without_a_collector_nothing_is_sent() {
        assert_eq!(Variables::default().settings("receiver"), Ok(None));
        let disabled = Variables {
            disabled: given("true"),
            ..on()
        };
        assert_eq!(disabled.settings("receiver"), Ok(None));
    }

    #[test]
    fn a_collector_alone_is_enough() {
        let expected = OtlpSettings {
            endpoint: "http://collector:4318/v1/traces".parse().unwrap(),
            service: "receiver".to_owned(),
            ratio: 1.0,
            timeout: Duration::from_secs(10),
        };
        assert_eq!(on().settings("receiver"), Ok(Some(expected)));
    }

    #[test]
    fn the_endpoint_of_all_signals_is_a_base_and_that_of_traces_is_whole() {
        let endpoint = |variables: Variables| variables.settings("").unwrap().unwrap().endpoint.to_string();
        let base = Variables {
            endpoint: given("http://collector/otlp/"),
            ..on()
        };
        assert_eq!(endpoint(base.clone()), "http://collector/otlp/v1/traces");
        let whole = Variables {
            traces_endpoint: given("http://tempo:4318/in"),
            ..base
        };
        assert_eq!(endpoint(whole), "http://tempo:4318/in");
    }

    #[test]
    fn the_name_of_the_service_is_its_own_variables_then_the_resources_then_the_programs() {
        let resource = Variables {
            resource: given("deployment.environment=demo, service.name=taker"),
            ..on()
        };
        let service = |variables: Variables| variables.settings("receiver").unwrap().unwrap().service;
        assert_eq!(service(resource.clone()), "taker");
        let own = Variables {
            service: given("front-door"),
            ..resource
        };
        assert_eq!(service(own), "front-door");
    }

    #[test]
    fn a_wrong_value_is_told_with_its_variable_and_what_was_expected() {
        let wrong = |variables: Variables| variables.settings("").unwrap_err().to_string();
        for endpoint in [
            "collector:4318",
            "https://collector:4318",
            "http://",
            "/v1",
            "grpc://a:1",
        ] {
            let told = wrong(Variables {
                endpoint: given(endpoint),
                ..on()
            });
            assert_eq!(
                told,
                format!(
                    "OTEL_EXPORTER_OTLP_ENDPOINT: '{endpoint}' was given; \
                     expected an address without TLS, such as http://collector:4318"
                )
            );
        }
        for ratio in ["-0.1", "1.1", "NaN", "half"] {
            let told = wrong(Variables {
                ratio: given(ratio),
                ..on()
            });
            assert!(told.starts_with("OTEL_TRACES_SAMPLER_ARG: "), "{told}");
        }
        for timeout in ["0", "60001", "10s"] {
            let told = wrong(Variables {
                timeout: given(timeout),
                ..on()
            });
            assert!(told.starts_with("OTEL_EXPORTER_OTLP_TIMEOUT: "), "{told}");
        }
        let told = wrong(Variables {
            protocol: given("grpc"),
            ..on()
        });
        assert_eq!(
            told,
            "OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' was given; expected http/protobuf"
        );
    }
}
