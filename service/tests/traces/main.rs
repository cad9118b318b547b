//! From calls of the mesh to the bytes that a collector reads.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod collector;
mod recognizer;

use std::sync::LazyLock;
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use safelight_mesh::trace::{self, Context, TraceId};
use safelight_mesh::{MeshChannel, Target};
use safelight_service::otlp::{OtlpSettings, Sending, start};
use tokio::runtime::Runtime;
use tonic::Code;

use collector::{Collector, Received};
use recognizer::identify;

/// The recorder of spans is one for the whole process, and so is what stands behind it.
struct World {
    runtime: Runtime,
    collector: Collector,
    sending: Sending,
    recognizer: Target,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let (collector, sending, recognizer) = runtime.block_on(async {
        let collector = Collector::default();
        let sending = start(&OtlpSettings {
            endpoint: format!("{}/v1/traces", collector.serve().await).parse().unwrap(),
            service: "processor".to_owned(),
            ratio: 1.0,
            timeout: Duration::from_secs(10),
        });
        let recognizer = recognizer::target(recognizer::serve().await);
        (collector, sending.unwrap(), recognizer)
    });
    World {
        runtime,
        collector,
        sending,
        recognizer,
    }
});

// === impl World ===

impl World {
    /// What the collector has of a trace, when all that has ended was sent.
    fn trace(&self, trace: TraceId) -> Vec<Received> {
        self.sending.flush();
        self.collector.trace(trace)
    }

    fn channel(&self) -> MeshChannel {
        self.recognizer.channel()
    }

    /// A call with this work around it; gives the trace and how the call ended.
    fn call_for_an_image(&self, path: &str) -> (TraceId, Result<String, tonic::Status>) {
        let image = trace::span("image", [("safelight.image.id", 7_i64.into())]);
        let called = image.within(identify(self.channel(), path));
        let called = self.runtime.block_on(called);
        (image.context().unwrap().trace_id(), called)
    }
}

fn of_kind(spans: &[Received], kind: SpanKind) -> &Received {
    let mut found = spans.iter().filter(|received| received.span.kind == kind as i32);
    let first = found
        .next()
        .unwrap_or_else(|| panic!("no {kind:?} in {spans:#?}"));
    assert!(found.next().is_none(), "two of {kind:?} in {spans:#?}");
    first
}

fn named<'a>(spans: &'a [Received], name: &str) -> &'a Received {
    let found = spans.iter().find(|received| received.span.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

fn status(received: &Received) -> (StatusCode, Option<String>) {
    let code = received
        .span
        .status
        .as_ref()
        .map_or(StatusCode::Unset, |status| status.code());
    (code, received.attribute("rpc.grpc.status_code"))
}

#[test]
fn the_work_on_an_image_is_one_trace_from_the_processor_to_the_recognizer() {
    let world = &*WORLD;
    let (trace, called) = world.call_for_an_image("obama.jpg");
    assert_eq!(called.unwrap(), "obama.jpg");
    let spans = world.trace(trace);
    assert_eq!(spans.len(), 4, "{spans:#?}");
    let image = named(&spans, "image");
    let client = of_kind(&spans, SpanKind::Client);
    let server = of_kind(&spans, SpanKind::Server);
    let decode = named(&spans, "decode");
    assert_eq!(image.span.parent_span_id, b"");
    assert_eq!(client.span.parent_span_id, image.span.span_id);
    assert_eq!(server.span.parent_span_id, client.span.span_id);
    assert_eq!(decode.span.parent_span_id, server.span.span_id);
    assert_eq!(image.attribute("safelight.image.id").as_deref(), Some("7"));
    for (outer, inner) in [(image, client), (client, server), (server, decode)] {
        let (outer, inner) = (&outer.span, &inner.span);
        assert!(outer.start_time_unix_nano <= inner.start_time_unix_nano);
        assert!(outer.start_time_unix_nano < outer.end_time_unix_nano);
    }
}

#[test]
fn a_call_is_told_of_by_the_semantic_conventions() {
    let world = &*WORLD;
    let (trace, called) = world.call_for_an_image("obama.jpg");
    called.unwrap();
    let spans = world.trace(trace);
    let client = of_kind(&spans, SpanKind::Client);
    let server = of_kind(&spans, SpanKind::Server);
    for call in [client, server] {
        assert_eq!(call.span.name, "facerecog.Identify/Identify");
        assert_eq!(call.attribute("rpc.system").unwrap(), "grpc");
        assert_eq!(call.attribute("rpc.service").unwrap(), "facerecog.Identify");
        assert_eq!(call.attribute("rpc.method").unwrap(), "Identify");
        assert_eq!(status(call), (StatusCode::Unset, Some("0".to_owned())));
        assert_eq!(call.scope, "safelight_mesh");
        assert_eq!(call.resource("service.name").unwrap(), "processor");
        assert_eq!(
            call.resource("service.version").unwrap(),
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(call.resource("telemetry.sdk.language").unwrap(), "rust");
    }
    let endpoint = &world.recognizer.snapshot().endpoints[0].endpoint;
    assert_eq!(client.attribute("mesh.target").unwrap(), "recognizer");
    assert_eq!(client.attribute("mesh.endpoint").as_ref(), Some(endpoint));
    assert_eq!(client.attribute("mesh.tries").unwrap(), "1");
    // A parent in another process, by bits 8 and 9 of the flags.
    assert_eq!(server.span.flags >> 8 & 0b11, 0b11);
    assert_eq!(client.span.flags >> 8 & 0b11, 0b01);
}

#[test]
fn a_failure_is_an_error_where_it_is_one() {
    let world = &*WORLD;
    for (path, code, of_server) in [
        ("nobody", Code::NotFound, StatusCode::Unset),
        ("broken", Code::DataLoss, StatusCode::Error),
    ] {
        let (trace, called) = world.call_for_an_image(path);
        assert_eq!(called.unwrap_err().code(), code);
        let spans = world.trace(trace);
        let told = Some((code as i32).to_string());
        let client = of_kind(&spans, SpanKind::Client);
        assert_eq!(status(client), (StatusCode::Error, told.clone()));
        assert_eq!(status(of_kind(&spans, SpanKind::Server)), (of_server, told));
    }
}

#[test]
fn a_call_that_finds_no_endpoint_is_a_span_as_well() {
    let world = &*WORLD;
    let nowhere = world.runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        recognizer::target(address)
    });
    let image = trace::span("image", []);
    let called = image.within(identify(nowhere.channel(), "obama.jpg"));
    assert_eq!(
        world.runtime.block_on(called).unwrap_err().code(),
        Code::Unavailable
    );
    let spans = world.trace(image.context().unwrap().trace_id());
    let [client] = spans.as_slice() else {
        panic!("{spans:#?}")
    };
    assert_eq!(status(client), (StatusCode::Error, Some("14".to_owned())));
    assert_eq!(client.attribute("error.type").unwrap(), "UNAVAILABLE");
    assert_eq!(client.attribute("mesh.tries").unwrap(), "0");
}

#[test]
fn what_is_not_sampled_is_not_sent() {
    let world = &*WORLD;
    let mut headers = axum::http::HeaderMap::new();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    headers.insert("traceparent", parent.parse().unwrap());
    let unsampled = Context::from_headers(&headers).unwrap();
    let called = trace::scope(unsampled.clone(), async {
        let work = trace::span("work", []);
        work.within(identify(world.channel(), "obama.jpg")).await
    });
    world.runtime.block_on(called).unwrap();
    // What ended after it has arrived, so it would have, too.
    let (trace, called) = world.call_for_an_image("obama.jpg");
    called.unwrap();
    assert!(!world.trace(trace).is_empty());
    assert_eq!(world.collector.trace(unsampled.trace_id()).len(), 0);
}

#[test]
fn what_vendors_add_to_a_trace_goes_to_the_collector() {
    let world = &*WORLD;
    let mut headers = axum::http::HeaderMap::new();
    let parent = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    headers.insert("traceparent", parent.parse().unwrap());
    headers.insert("tracestate", "vendor=1,other=2".parse().unwrap());
    let caller = Context::from_headers(&headers).unwrap();
    let called = trace::scope(caller.clone(), identify(world.channel(), "obama.jpg"));
    world.runtime.block_on(called).unwrap();
    let spans = world.trace(caller.trace_id());
    assert_eq!(spans.len(), 3, "{spans:#?}");
    assert!(
        spans
            .iter()
            .all(|received| received.span.trace_state == "vendor=1,other=2")
    );
    let client = of_kind(&spans, SpanKind::Client);
    assert_eq!(client.span.parent_span_id, caller.span_id().to_bytes());
}
