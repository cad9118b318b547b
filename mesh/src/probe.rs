//! Asking a target whether it is well.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;

use crate::error::chain;
use crate::grpc::{Code, Grpc, ProstCodec, Request};
use crate::random;
use crate::transport::{Direct, Link, LinkState, Origin};

/// How a target that is not well is asked whether it is again.
///
/// A server that does not know the method that is asked for is taken for well: it is there, and answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Probe {
    /// `grpc.health.v1.Health`: `Check` while the endpoint is not well, `Watch` while it is; well is `SERVING`.
    GrpcHealth {
        /// The service to ask for; empty for the server as a whole.
        service: String,
    },
    /// `facerecog.HealthCheck/HealthCheck`; well is `ready`.
    FaceRecog,
    /// A connection is enough.
    #[default]
    Connect,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Well,
    Unwell(String),
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: i32 = 1;

/// `facerecog.Empty`.
#[derive(Clone, PartialEq, prost::Message)]
struct Empty {}

/// `facerecog.HealthCheckResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Ready {
    #[prost(bool, tag = "1")]
    ready: bool,
}

/// An interval up to a fifth shorter, so that many clients do not keep in step.
pub(crate) fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(random::within(0.8..=1.0))
}

// === impl Probe ===

impl Probe {
    /// Asks once over this connection. The circuit is not asked and not told.
    pub(crate) fn ask(
        &self,
        link: Link,
        origin: Arc<Origin>,
        timeout: Duration,
    ) -> impl Future<Output = Finding> + Send + use<> {
        let probe = self.clone();
        async move {
            let LinkState::Up(sender) = link.state else {
                return Finding::Unwell("no connection".to_owned());
            };
            probe.ask_over(Direct::new(sender, origin, timeout)).await
        }
    }

    async fn ask_over(&self, way: Direct) -> Finding {
        match self {
            Self::GrpcHealth { service } => {
                let request = HealthRequest {
                    service: service.clone(),
                };
                let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
                let answer = call::<_, HealthResponse>(way, path, request).await;
                judge(answer, |response| response.status == SERVING, "not serving")
            }
            Self::FaceRecog => {
                let path = PathAndQuery::from_static("/facerecog.HealthCheck/HealthCheck");
                let answer = call::<_, Ready>(way, path, Empty {}).await;
                judge(answer, |response| response.ready, "not ready")
            }
            Self::Connect => Finding::Well,
        }
    }

    /// Follows the health of an endpoint that is well: comes back when it says that it is so no longer. Where the
    /// server does not tell by itself, it never does. Without a time limit; cancel safe.
    pub(crate) async fn follow(&self, link: Link, origin: Arc<Origin>) -> Finding {
        if let (Self::GrpcHealth { service }, LinkState::Up(sender)) = (self, link.state)
            && let Some(unwell) = watch_health(Direct::unlimited(sender, origin), service).await
        {
            return unwell;
        }
        std::future::pending().await
    }
}

/// `grpc.health.v1.Health/Watch` until it says something else than `SERVING`; `None` where it ends or is not there.
async fn watch_health(way: Direct, service: &str) -> Option<Finding> {
    let request = HealthRequest {
        service: service.to_owned(),
    };
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Watch");
    let mut client = Grpc::new(way);
    client.ready().await.ok()?;
    let codec: ProstCodec<HealthRequest, HealthResponse> = ProstCodec::default();
    let answer = client.server_streaming(Request::new(request), path, codec).await;
    let mut messages = answer.ok()?.into_inner();
    while let Ok(Some(message)) = messages.message().await {
        if message.status != SERVING {
            return Some(Finding::Unwell("health probe: not serving".to_owned()));
        }
    }
    None
}

async fn call<M1, M2>(way: Direct, path: PathAndQuery, request: M1) -> Result<M2, crate::grpc::Status>
where
    M1: prost::Message + Send + Sync + 'static,
    M2: prost::Message + Default + Send + Sync + 'static,
{
    let codec: ProstCodec<M1, M2> = ProstCodec::default();
    let response = Grpc::new(way).unary(Request::new(request), path, codec).await?;
    Ok(response.into_inner())
}

fn judge<M>(
    answer: Result<M, crate::grpc::Status>,
    is_well: impl Fn(&M) -> bool,
    unwell: &'static str,
) -> Finding {
    match answer {
        Ok(response) if is_well(&response) => Finding::Well,
        Ok(_) => Finding::Unwell(format!("health probe: {unwell}")),
        Err(status) if status.code() == Code::Unimplemented => Finding::Well,
        Err(status) => match std::error::Error::source(&status) {
            Some(cause) => Finding::Unwell(format!("health probe: {}", chain(cause))),
            None => Finding::Unwell(format!("health probe: {:?}: {}", status.code(), status.message())),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn jitter_only_shortens_and_by_at_most_a_fifth() {
        let interval = Duration::from_secs(1);
        for _ in 0..200 {
            let time = jittered(interval);
            assert!(time <= interval && time >= interval.mul_f64(0.79), "{time:?}");
        }
    }
}
