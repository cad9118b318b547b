//! All of tonic that this crate touches, so that a move to another release line, or to its successor, begins and
//! mostly ends here. What is above this module speaks of gRPC; how tonic spells it is said here alone.

pub(crate) use tonic::body::Body;
pub(crate) use tonic::client::Grpc;
pub(crate) use tonic::metadata::{AsciiMetadataValue, MetadataValue};
pub(crate) use tonic::server::NamedService;
pub(crate) use tonic::service::{Routes, RoutesBuilder};
pub(crate) use tonic::transport::server::TcpConnectInfo;
pub(crate) use tonic::{Code, ConnectError, Request, Response, Status, TimeoutExpired, async_trait};
pub(crate) use tonic_prost::ProstCodec;

/// `grpc.health.v1`.
pub(crate) mod health {
    pub(crate) use tonic_health::pb::health_check_response::ServingStatus;
    pub(crate) use tonic_health::pb::health_server::{Health, HealthServer};
    pub(crate) use tonic_health::pb::{FILE_DESCRIPTOR_SET, HealthCheckRequest, HealthCheckResponse};
}

/// `grpc.reflection`, both versions.
pub(crate) mod reflection {
    pub(crate) use tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET as V1_DESCRIPTORS;
    pub(crate) use tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET as V1ALPHA_DESCRIPTORS;
    pub(crate) use tonic_reflection::server::{Builder, Error};
}
