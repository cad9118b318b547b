//! The methods that are served: their names, their metrics, and the times that they take.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio::time::Instant;

use super::metric_names as names;
use super::service_time::{ServiceTimes, TooLate};
use crate::grpc::Code;

/// The label of what is not known.
const UNKNOWN: &str = "unknown";

/// The services of the bootstrap itself. Like [`OLDER_HEALTH`] they are never refused, never counted into the limit, and
/// begin no trace.
pub(super) const OUR_OWN: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// What probes ask in the place of `grpc.health.v1`; a server that is busy is still well.
const OLDER_HEALTH: &str = "facerecog.HealthCheck";

/// How many codes gRPC has, 0 to 16.
const CODES: usize = 17;

/// The methods by their path.
#[derive(Debug)]
pub(super) struct Methods {
    by_path: HashMap<String, Arc<Method>>,
    /// What is asked of a service that is served, but is not described.
    by_service: HashMap<String, Arc<Method>>,
    unknown: Arc<Method>,
}

/// A method, or all that is unknown.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) service: String,
    pub(super) name: String,
    pub(super) exempt: bool,
    /// The service times of unary methods; those of streams are their callers' doing.
    times: Option<Mutex<ServiceTimes>>,
    pub(super) in_flight: Gauge,
    pub(super) shed: Counter,
    pub(super) too_late: Counter,
    pub(super) panics: Counter,
    seconds: Histogram,
    /// Made when they are first needed: most methods know three codes.
    requests: [OnceLock<Counter>; CODES],
}

// === impl Methods ===

impl Methods {
    /// The methods of `services`, as far as `descriptors`, encoded file descriptor sets, describe them.
    pub(super) fn new(services: &[&str], descriptors: &[Vec<u8>]) -> Result<Self, prost::DecodeError> {
        let mut by_path = HashMap::new();
        for set in descriptors {
            for file in FileDescriptorSet::decode(set.as_slice())?.file {
                for service in &file.service {
                    let name = match file.package() {
                        "" => service.name().to_owned(),
                        package => format!("{package}.{}", service.name()),
                    };
                    if !services.contains(&name.as_str()) {
                        continue;
                    }
                    for method in &service.method {
                        let unary = !method.client_streaming() && !method.server_streaming();
                        let path = format!("/{name}/{}", method.name());
                        by_path.insert(path, Arc::new(Method::new(&name, method.name(), unary)));
                    }
                }
            }
        }
        let by_service = services
            .iter()
            .map(|service| {
                (
                    (*service).to_owned(),
                    Arc::new(Method::new(service, UNKNOWN, false)),
                )
            })
            .collect();
        Ok(Self {
            by_path,
            by_service,
            unknown: Arc::new(Method::new(UNKNOWN, UNKNOWN, false)),
        })
    }

    /// The method of a request's path, `/SERVICE/METHOD`.
    pub(super) fn of_path(&self, path: &str) -> &Arc<Method> {
        if let Some(method) = self.by_path.get(path) {
            return method;
        }
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        service
            .and_then(|(service, _)| self.by_service.get(service))
            .unwrap_or(&self.unknown)
    }
}

// === impl Method ===

impl Method {
    fn new(service: &str, name: &str, unary: bool) -> Self {
        let labels = [
            metrics::Label::new("service", service.to_owned()),
            metrics::Label::new("method", name.to_owned()),
        ];
        let labels = || labels.iter();
        Self {
            service: service.to_owned(),
            name: name.to_owned(),
            exempt: OUR_OWN.contains(&service) || service == OLDER_HEALTH,
            times: unary.then(Mutex::default),
            in_flight: metrics::gauge!(names::IN_FLIGHT, labels()),
            shed: metrics::counter!(names::SHED, labels()),
            too_late: metrics::counter!(names::TOO_LATE, labels()),
            panics: metrics::counter!(names::PANICS, labels()),
            seconds: metrics::histogram!(names::SECONDS, labels()),
            requests: Default::default(),
        }
    }

    /// Counts a call that ended.
    pub(super) fn ended(&self, code: Code, took: Duration) {
        self.seconds.record(took);
        let counter = self.requests[code as usize].get_or_init(|| {
            metrics::counter!(
                names::REQUESTS,
                "service" => self.service.clone(),
                "method" => self.name.clone(),
                "code" => code_name(code),
            )
        });
        counter.increment(1);
    }

    /// A handler did its work in this time.
    pub(super) fn took(&self, took: Duration) {
        if let Some(times) = &self.times {
            let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
            times.record(Instant::now(), took);
        }
    }

    /// Whether a call with so much time left is worth beginning.
    pub(super) fn judge(&self, left: Duration) -> Result<(), TooLate> {
        match &self.times {
            Some(times) if !self.exempt => {
                let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
                times.judge(Instant::now(), left)
            }
            _ => Ok(()),
        }
    }
}

/// The name of a code as the gRPC documents write it.
pub(crate) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn methods() -> Methods {
        let descriptors = [
            safelight_proto::FILE_DESCRIPTOR_SET.to_vec(),
            crate::grpc::health::FILE_DESCRIPTOR_SET.to_vec(),
        ];
        let services = [
            "facerecog.HealthCheck",
            "facerecog.Identify",
            "grpc.health.v1.Health",
            "undescribed.Service",
        ];
        Methods::new(&services, &descriptors).unwrap()
    }

    #[test]
    fn a_method_that_is_served_is_known_by_name() {
        let methods = methods();
        let method = methods.of_path("/facerecog.Identify/Identify");
        assert_eq!(
            (method.service.as_str(), method.name.as_str()),
            ("facerecog.Identify", "Identify")
        );
        assert!(method.times.is_some() && !method.exempt);
        let watch = methods.of_path("/grpc.health.v1.Health/Watch");
        assert!(watch.exempt && watch.times.is_none());
        assert!(methods.of_path("/facerecog.HealthCheck/HealthCheck").exempt);
    }

    #[test]
    fn callers_cannot_make_names_up() {
        let methods = methods();
        for (path, service) in [
            ("/facerecog.Identify/Guess", "facerecog.Identify"),
            ("/undescribed.Service/Anything", "undescribed.Service"),
            // Described, but not served.
            ("/safelight.recognizer.v1.Recognizer/Recognize", UNKNOWN),
            ("/no.such.Service/Identify", UNKNOWN),
            ("/facerecog.Identify", UNKNOWN),
            ("facerecog.Identify/Identify", UNKNOWN),
            ("", UNKNOWN),
            ("*", UNKNOWN),
        ] {
            let method = methods.of_path(path);
            assert_eq!(
                (method.service.as_str(), method.name.as_str()),
                (service, UNKNOWN),
                "{path:?}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_descriptors_are_an_error() {
        assert!(Methods::new(&[], &[b"nonsense".to_vec()]).is_err());
    }
}
