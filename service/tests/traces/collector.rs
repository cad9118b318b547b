//! A collector: takes OTLP over HTTP, and keeps what it was sent.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use safelight_mesh::trace::TraceId;
use tokio::net::TcpListener;

/// A span as it came in, and from whom.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) resource: Vec<KeyValue>,
    pub(crate) scope: String,
    pub(crate) span: Span,
}

#[derive(Clone, Default)]
pub(crate) struct Collector {
    received: Arc<Mutex<Vec<Received>>>,
}

// === impl Collector ===

impl Collector {
    /// Serves on a free port of this machine; gives the base of its address.
    pub(crate) async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = self.clone();
        let router = Router::new().route(
            "/v1/traces",
            post(async move |headers: HeaderMap, body: Bytes| {
                assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
                collector.take(ExportTraceServiceRequest::decode(body).unwrap());
                let answer = ExportTraceServiceResponse::default().encode_to_vec();
                ([(header::CONTENT_TYPE, "application/x-protobuf")], answer)
            }),
        );
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn take(&self, request: ExportTraceServiceRequest) {
        let mut received = self.received.lock().unwrap();
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.unwrap_or_default().attributes;
            for of_scope in of_resource.scope_spans {
                let scope = of_scope.scope.unwrap_or_default().name;
                received.extend(of_scope.spans.into_iter().map(|span| Received {
                    resource: resource.clone(),
                    scope: scope.clone(),
                    span,
                }));
            }
        }
    }

    pub(crate) fn all(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The spans of a trace, the earliest first.
    pub(crate) fn trace(&self, trace: TraceId) -> Vec<Received> {
        let mut spans = self.all();
        spans.retain(|received| received.span.trace_id == trace.to_bytes());
        spans.sort_by_key(|received| received.span.start_time_unix_nano);
        spans
    }
}

// === impl Received ===

impl Received {
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        text(&self.span.attributes, name)
    }

    pub(crate) fn resource(&self, name: &str) -> Option<String> {
        text(&self.resource, name)
    }
}

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    match &found.value {
        Some(AnyValue { value: Some(value) }) => Some(match value {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            other => format!("{other:?}"),
        }),
        _ => None,
    }
}
