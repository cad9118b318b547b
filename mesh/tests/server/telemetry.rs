use std::io;
use std::sync::{Arc, Mutex};

use metrics_exporter_prometheus::PrometheusBuilder;
use safelight_mesh::server::ServerSettings;
use safelight_mesh::trace::Context;
use safelight_proto::facerecog::{Empty, IdentifyRequest};
use tonic::client::Grpc;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::facerecog::{Recognizer, Serving, ask, identify, within};
use crate::health;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn asking(image_path: &str) -> Request<IdentifyRequest> {
    Request::new(IdentifyRequest {
        image_path: image_path.to_owned(),
    })
}

/// By the name of the picture: panics, gets stuck, or refuses.
fn moody() -> Recognizer {
    Recognizer::new(async |request: Request<IdentifyRequest>| {
        match request.into_inner().image_path.as_str() {
            "panic" => panic!("as told"),
            "stuck" => std::future::pending().await,
            "nobody" => Err(Status::not_found("as told")),
            other => Ok(other.to_owned()),
        }
    })
}

async fn call_unknown(channel: &tonic::transport::Channel, path: &'static str) {
    let mut client = Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec: ProstCodec<Empty, Empty> = ProstCodec::default();
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = within(client.unary(Request::new(Empty {}), path, codec)).await;
    assert_eq!(answer.unwrap_err().code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn metrics_tell_of_each_method_and_callers_cannot_make_labels_up() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let settings = ServerSettings {
        max_in_flight: 1,
        ..ServerSettings::default()
    };
    let serving = Serving::start_with(moody(), settings).await;
    let channel = serving.channel().await;
    identify(&channel).await.unwrap();
    identify(&channel).await.unwrap();
    ask(&channel, asking("nobody")).await.unwrap_err();
    ask(&channel, asking("panic")).await.unwrap_err();
    let stuck = tokio::spawn({
        let channel = channel.clone();
        async move { ask(&channel, asking("stuck")).await }
    });
    serving.work.reaches(1).await;
    identify(&channel).await.unwrap_err();
    let meanwhile = handle.render();
    stuck.abort();
    serving.work.reaches(0).await;
    call_unknown(&channel, "/facerecog.Identify/Guess").await;
    call_unknown(&channel, "/no.such.Service/Identify").await;
    call_unknown(&channel, "/no.other.Service/Identify").await;
    health::check(&channel, "").await.unwrap();

    let page = handle.render();
    let method = r#"service="facerecog.Identify",method="Identify""#;
    let has = |page: &str, line: &str| {
        assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
    };
    has(&meanwhile, &format!("mesh_server_in_flight{{{method}}} 1"));
    for line in [
        format!(r#"mesh_server_requests_total{{{method},code="OK"}} 2"#),
        format!(r#"mesh_server_requests_total{{{method},code="NOT_FOUND"}} 1"#),
        format!(r#"mesh_server_requests_total{{{method},code="INTERNAL"}} 1"#),
        format!(r#"mesh_server_requests_total{{{method},code="CANCELLED"}} 1"#),
        format!(r#"mesh_server_requests_total{{{method},code="RESOURCE_EXHAUSTED"}} 1"#),
        format!("mesh_server_seconds_count{{{method}}} 6"),
        format!("mesh_server_in_flight{{{method}}} 0"),
        format!("mesh_server_shed_total{{{method}}} 1"),
        format!("mesh_server_panics_total{{{method}}} 1"),
        r#"mesh_server_requests_total{service="facerecog.Identify",method="unknown",code="UNIMPLEMENTED"} 1"#
            .to_owned(),
        r#"mesh_server_requests_total{service="unknown",method="unknown",code="UNIMPLEMENTED"} 2"#.to_owned(),
        r#"mesh_server_requests_total{service="grpc.health.v1.Health",method="Check",code="OK"} 1"#
            .to_owned(),
        "mesh_server_connections 1".to_owned(),
    ] {
        has(&page, &line);
    }
    assert!(!page.contains("Guess") && !page.contains("such"), "{page}");
}

#[tokio::test]
async fn a_handler_is_within_the_trace_of_its_caller() {
    let seen: Arc<Mutex<Vec<Context>>> = Arc::default();
    let recognizer = Recognizer::new({
        let seen = seen.clone();
        move |request| {
            let context = Context::current().unwrap();
            assert_eq!(request.extensions().get::<Context>(), Some(&context));
            seen.lock().unwrap().push(context);
            async { Ok(String::new()) }
        }
    });
    let serving = Serving::start(recognizer).await;
    let channel = serving.channel().await;
    let mut request = asking("");
    request
        .metadata_mut()
        .insert("traceparent", TRACEPARENT.parse().unwrap());
    request
        .metadata_mut()
        .insert("tracestate", "vendor=1".parse().unwrap());
    ask(&channel, request).await.unwrap();
    let mut request = asking("");
    request
        .metadata_mut()
        .insert("traceparent", "00-0-0-01".parse().unwrap());
    ask(&channel, request).await.unwrap();

    let seen = seen.lock().unwrap();
    let [traced, untraced] = seen.as_slice() else {
        panic!("{seen:?}")
    };
    assert_eq!(traced.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(traced.parent_id().unwrap().to_string(), "b7ad6b7169203331");
    assert_ne!(traced.span_id().to_string(), "b7ad6b7169203331");
    assert_eq!(traced.tracestate(), Some("vendor=1"));
    assert!(traced.is_sampled());
    // What is wrong is as if it were not there: a new trace begins.
    assert_ne!(untraced.trace_id(), traced.trace_id());
    assert_eq!(untraced.parent_id(), None);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_a_handler_logs_and_its_panic_carry_the_trace() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _installed = tracing::subscriber::set_default(subscriber);
    let serving = Serving::start(Recognizer::new(async |_| {
        tracing::info!("at work");
        panic!("out of film")
    }))
    .await;
    let channel = serving.channel().await;
    let mut request = asking("");
    request
        .metadata_mut()
        .insert("traceparent", TRACEPARENT.parse().unwrap());
    ask(&channel, request).await.unwrap_err();

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let line = |words: &str| text.lines().find(|line| line.contains(words)).unwrap().to_owned();
    for (words, level) in [("at work", "INFO"), ("the handler panicked", "ERROR")] {
        let line = line(words);
        assert!(line.contains(level), "{line}");
        assert!(
            line.contains("trace_id=0af7651916cd43dd8448eb211c80319c"),
            "{line}"
        );
        assert!(line.contains("parent_id=b7ad6b7169203331"), "{line}");
        assert!(line.contains(r#"method="Identify""#), "{line}");
    }
    assert!(line("the handler panicked").contains("out of film"));
}
