//! Which calls are recorded as spans, and under which.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use safelight_mesh::server::Server;
use safelight_mesh::trace::{self, Context, Finished, InstallError, Kind, Recorder, SpanStatus, TraceId};
use safelight_mesh::{Methods, Probe, Target};
use safelight_proto::FILE_DESCRIPTOR_SET;
use safelight_proto::facerecog::identify_client::IdentifyClient;
use safelight_proto::facerecog::identify_server::{Identify, IdentifyServer};
use safelight_proto::facerecog::{IdentifyRequest, IdentifyResponse};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Keeps every span of the process; tests look at those of their own traces.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Finished>>>);

static KEPT: LazyLock<Kept> = LazyLock::new(|| {
    let kept = Kept::default();
    trace::install(kept.clone(), 1.0).unwrap();
    kept
});

/// Knows everybody but `nobody`; `stuck` is never answered.
struct Recognizer {
    contexts: watch::Sender<Option<Context>>,
}

/// A recognizer, a target that calls it, and the context of the last call that it was asked.
struct Stage {
    address: String,
    target: Target,
    contexts: watch::Receiver<Option<Context>>,
}

// === impl Kept ===

impl Recorder for Kept {
    fn record(&self, span: Finished) {
        self.0.lock().unwrap().push(span);
    }
}

impl Kept {
    fn trace(&self, trace: TraceId) -> Vec<Finished> {
        let mut spans = self.0.lock().unwrap().clone();
        spans.retain(|span| span.context.trace_id() == trace);
        spans
    }

    /// The two ends of the only call of a trace.
    fn call(&self, trace: TraceId) -> (Finished, Finished) {
        let spans = self.trace(trace);
        let of = |kind| spans.iter().find(|span| span.kind == kind).cloned();
        assert_eq!(spans.len(), 2, "{spans:#?}");
        (of(Kind::Client).unwrap(), of(Kind::Server).unwrap())
    }
}

// === impl Recognizer ===

#[tonic::async_trait]
impl Identify for Recognizer {
    async fn identify(
        &self,
        request: Request<IdentifyRequest>,
    ) -> Result<Response<IdentifyResponse>, Status> {
        self.contexts.send_replace(Context::current());
        let image_name = request.into_inner().image_path;
        match image_name.as_str() {
            "nobody" => Err(Status::not_found("as told")),
            "stuck" => std::future::pending().await,
            _ => Ok(Response::new(IdentifyResponse { image_name })),
        }
    }
}

// === impl Stage ===

impl Stage {
    async fn set() -> Self {
        LazyLock::force(&KEPT);
        let (contexts, seen) = watch::channel(None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = Server::builder("recognizer")
            .reflection(&[FILE_DESCRIPTOR_SET])
            .add_service(IdentifyServer::new(Recognizer { contexts }))
            .build()
            .unwrap();
        tokio::spawn(server.serve(listener, std::future::pending()));
        let target = Target::builder("recognizer", format!("static:///{address}"))
            .probe(Probe::GrpcHealth {
                service: String::new(),
            })
            .methods(Methods::default().descriptor_set(FILE_DESCRIPTOR_SET).unwrap())
            .connect()
            .unwrap();
        Self {
            address,
            target,
            contexts: seen,
        }
    }

    async fn identify(&self, path: &str, metadata: &[(&'static str, &str)]) -> Result<String, Status> {
        let mut request = Request::new(IdentifyRequest {
            image_path: path.to_owned(),
        });
        for (name, value) in metadata {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        let mut client = IdentifyClient::new(self.target.channel());
        Ok(client.identify(request).await?.into_inner().image_name)
    }

    /// The context of the last call, as its handler had it.
    fn seen(&self) -> Context {
        self.contexts.borrow().clone().unwrap()
    }
}

fn code(span: &Finished) -> trace::Value {
    let mut attributes = span.attributes.iter();
    let found = attributes.find(|(name, _)| *name == "rpc.grpc.status_code");
    found.unwrap().1.clone()
}

#[tokio::test]
async fn a_call_without_a_context_begins_a_trace() {
    let stage = Stage::set().await;
    stage.identify("obama", &[]).await.unwrap();
    let handler = stage.seen();
    let (client, server) = KEPT.call(handler.trace_id());
    assert!(handler.is_sampled());
    assert_eq!(server.context, handler);
    assert_eq!(client.context.parent_id(), None);
    assert_eq!(server.context.parent_id(), Some(client.context.span_id()));
    assert!(client.duration >= server.duration);
}

#[tokio::test]
async fn a_call_is_under_what_its_own_headers_name() {
    let stage = Stage::set().await;
    let given = "00-2af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    stage.identify("obama", &[("traceparent", given)]).await.unwrap();
    let (client, _) = KEPT.call(stage.seen().trace_id());
    assert_eq!(
        client.context.trace_id().to_string(),
        "2af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(
        client.context.parent_id().unwrap().to_string(),
        "b7ad6b7169203331"
    );
}

#[tokio::test]
async fn a_call_of_a_trace_that_is_not_sampled_is_passed_on_and_not_recorded() {
    let stage = Stage::set().await;
    let given = "00-3af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    stage.identify("obama", &[("traceparent", given)]).await.unwrap();
    let handler = stage.seen();
    assert_eq!(handler.trace_id().to_string(), "3af7651916cd43dd8448eb211c80319c");
    assert!(!handler.is_sampled());
    assert_eq!(KEPT.trace(handler.trace_id()), []);
}

#[tokio::test]
async fn work_within_a_span_is_under_it_and_its_end_is_its_drop() {
    let stage = Stage::set().await;
    let mut image = trace::span("image", [("safelight.image.id", 7_i64.into())]);
    let context = image.context().unwrap().clone();
    image.within(stage.identify("obama", &[])).await.unwrap();
    let inner = image.within(async { trace::span("write", []) }).await;
    assert_eq!(inner.context().unwrap().parent_id(), Some(context.span_id()));
    drop(inner);
    assert_eq!(KEPT.trace(context.trace_id()).len(), 3, "client, server, write");
    image.fail("out of film");
    drop(image);
    let spans = KEPT.trace(context.trace_id());
    let image = spans.last().unwrap();
    assert_eq!((image.name.as_ref(), image.kind), ("image", Kind::Internal));
    assert_eq!(image.context, context);
    assert_eq!(image.attributes, [("safelight.image.id", 7_i64.into())]);
    assert_eq!(image.status, SpanStatus::Error("out of film".into()));
    let client = spans.iter().find(|span| span.kind == Kind::Client).unwrap();
    assert_eq!(client.context.parent_id(), Some(context.span_id()));
}

#[tokio::test]
async fn an_answer_without_a_body_ends_both_spans() {
    let stage = Stage::set().await;
    let refused = stage.identify("nobody", &[]).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    let (client, server) = KEPT.call(stage.seen().trace_id());
    assert_eq!((code(&client), code(&server)), (5_i64.into(), 5_i64.into()));
    assert_eq!(client.status, SpanStatus::Error("NOT_FOUND".into()));
    assert_eq!(server.status, SpanStatus::Unset);
}

#[tokio::test]
async fn a_call_that_is_given_up_was_canceled() {
    let stage = Stage::set().await;
    let mut contexts = stage.contexts.clone();
    let stuck = stage.identify("stuck", &[]);
    let began = async { contexts.wait_for(Option::is_some).await.map(|_| ()) };
    tokio::select! {
        answer = stuck => panic!("{answer:?}"),
        began = began => began.unwrap(),
    }
    let handler = stage.seen();
    // The server hears of it on the connection that later calls go over as well.
    let deadline = Instant::now() + Duration::from_secs(10);
    while KEPT.trace(handler.trace_id()).len() < 2 {
        assert!(Instant::now() < deadline, "the server goes on");
        stage.identify("obama", &[]).await.unwrap();
    }
    let (client, server) = KEPT.call(handler.trace_id());
    assert_eq!((code(&client), code(&server)), (1_i64.into(), 1_i64.into()));
}

#[tokio::test]
async fn probes_begin_no_trace() {
    let stage = Stage::set().await;
    let channel = Endpoint::from_shared(format!("http://{}", stage.address)).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    health.check(HealthCheckRequest::default()).await.unwrap();
    stage.identify("obama", &[]).await.unwrap();
    let kept = KEPT.0.lock().unwrap().clone();
    let probes = kept.iter().filter(|span| span.name.contains("Health"));
    assert_eq!(probes.count(), 0);
}

#[test]
fn there_is_one_recorder() {
    LazyLock::force(&KEPT);
    assert_eq!(trace::install(Kept::default(), 1.0), Err(InstallError::Twice));
    assert!(matches!(
        trace::install(Kept::default(), 2.0),
        Err(InstallError::Ratio(_))
    ));
}
