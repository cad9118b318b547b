//! Plays the receiver by a script: what it answers to uploads and to questions, and what it was sent.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long one upload more than there should be has to show itself.
const ONE_MORE: Duration = Duration::from_millis(200);
/// How many bytes of an upload are kept.
const KEPT: usize = 1024 * 1024;

pub(crate) struct Receiver {
    pub(crate) url: String,
    script: Arc<Script>,
}

/// An upload as it came in.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) query: String,
    pub(crate) content_type: String,
    pub(crate) idempotency_key: String,
    pub(crate) announced: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) beginning: Vec<u8>,
    pub(crate) at: Instant,
}

/// What it says to an upload.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// 503, and when to come again.
    Busy { retry_after: &'static str },
    /// 422.
    Refused,
    /// 409: the same upload is under way.
    UnderWay,
    /// The connection ends where the answer should be.
    Lost,
}

#[derive(Default)]
struct Script {
    /// For the uploads in their order; those behind them are taken.
    answers: Mutex<VecDeque<Answer>>,
    always: Mutex<Option<Answer>>,
    uploads: Mutex<Vec<Upload>>,
    /// For each image, what it is at each question; the last one for good.
    records: Mutex<HashMap<i64, VecDeque<(StatusCode, Value)>>>,
    /// Uploads that are under way, the most there were, and how many are held back until they are so many.
    at_once: watch::Sender<(usize, usize)>,
    hold_until: Mutex<usize>,
    /// Called when an upload has been read.
    when_read: Mutex<Option<Box<dyn Fn() + Send>>>,
}

// === impl Receiver ===

impl Receiver {
    pub(crate) async fn start() -> Receiver {
        Receiver::serve(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// Drops the first connections that are made to it.
    pub(crate) async fn start_after_dropping(connections: usize) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiver = Receiver {
            url: format!("http://{address}"),
            script: Arc::default(),
        };
        let script = Arc::clone(&receiver.script);
        tokio::spawn(async move {
            for _ in 0..connections {
                drop(listener.accept().await.unwrap());
            }
            axum::serve(listener, router(script)).await.unwrap();
        });
        receiver
    }

    fn serve(listener: TcpListener) -> Receiver {
        let receiver = Receiver {
            url: format!("http://{}", listener.local_addr().unwrap()),
            script: Arc::default(),
        };
        let router = router(Arc::clone(&receiver.script));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        receiver
    }

    pub(crate) fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.answers.lock().unwrap().extend(answers);
    }

    pub(crate) fn always_answers(&self, answer: Answer) {
        *self.script.always.lock().unwrap() = Some(answer);
    }

    /// What image `id` is at each question.
    pub(crate) fn shows(&self, id: i64, records: impl IntoIterator<Item = Value>) {
        let records = records.into_iter().map(|record| (StatusCode::OK, record));
        self.script
            .records
            .lock()
            .unwrap()
            .entry(id)
            .or_default()
            .extend(records);
    }

    /// The next question for image `id` finds nobody.
    pub(crate) fn is_away_for(&self, id: i64) {
        let away = (
            StatusCode::SERVICE_UNAVAILABLE,
            json!({ "title": "database away" }),
        );
        self.script
            .records
            .lock()
            .unwrap()
            .entry(id)
            .or_default()
            .push_back(away);
    }

    pub(crate) fn hold_until(&self, uploads: usize) {
        *self.script.hold_until.lock().unwrap() = uploads;
    }

    pub(crate) fn when_read(&self, call: impl Fn() + Send + 'static) {
        *self.script.when_read.lock().unwrap() = Some(Box::new(call));
    }

    pub(crate) fn uploads(&self) -> Vec<Upload> {
        self.script.uploads.lock().unwrap().clone()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.script.at_once.borrow().1
    }
}

fn router(script: Arc<Script>) -> Router {
    Router::new()
        .route("/prepare", post(prepare))
        .route("/images/{id}", get(image))
        .with_state(script)
}

async fn prepare(State(script): State<Arc<Script>>, request: Request) -> Response {
    script.at_once.send_modify(|(now, most)| {
        *now += 1;
        *most = (*most).max(*now);
    });
    let enough = *script.hold_until.lock().unwrap();
    let mut at_once = script.at_once.subscribe();
    at_once.wait_for(|(_, most)| *most >= enough).await.unwrap();
    if enough > 0 {
        // One more than that would come now.
        let _nobody = timeout(ONE_MORE, at_once.wait_for(|(_, most)| *most > enough)).await;
    }

    let (parts, body) = request.into_parts();
    let text = |name| {
        let value = parts.headers.get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let (bytes, beginning) = read(body).await;
    let upload = Upload {
        query: parts.uri.query().unwrap_or_default().to_owned(),
        content_type: text(header::CONTENT_TYPE).unwrap_or_default(),
        idempotency_key: text(header::HeaderName::from_static("idempotency-key")).unwrap_or_default(),
        announced: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        bytes,
        beginning,
        at: Instant::now(),
    };
    if let Some(call) = script.when_read.lock().unwrap().as_ref() {
        call();
    }
    let id = {
        let mut uploads = script.uploads.lock().unwrap();
        uploads.push(upload);
        uploads.len()
    };
    script.at_once.send_modify(|(now, _)| *now -= 1);

    let always = script.always.lock().unwrap().clone();
    match script.answers.lock().unwrap().pop_front().or(always) {
        None => {
            let taken = json!({ "id": id, "path": format!("file:///store/{id}"), "status": "pending" });
            (StatusCode::ACCEPTED, Json(taken)).into_response()
        }
        Some(Answer::Busy { retry_after }) => {
            let problem = json!({ "title": "too much at once", "detail": "come again" });
            let headers = [(header::RETRY_AFTER, retry_after)];
            (StatusCode::SERVICE_UNAVAILABLE, headers, Json(problem)).into_response()
        }
        Some(Answer::UnderWay) => {
            let problem = json!({ "title": "the same upload is under way", "detail": "come again" });
            (StatusCode::CONFLICT, [(header::RETRY_AFTER, "0")], Json(problem)).into_response()
        }
        Some(Answer::Lost) => {
            let breaks = futures::stream::iter([Err::<Bytes, _>(std::io::Error::other("killed"))]);
            (StatusCode::ACCEPTED, Body::from_stream(breaks)).into_response()
        }
        Some(Answer::Refused) => {
            let problem = json!({ "title": "address wrong", "detail": "a@b has no domain" });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(problem)).into_response()
        }
    }
}

async fn read(mut body: Body) -> (u64, Vec<u8>) {
    let (mut bytes, mut beginning) = (0, Vec::new());
    while let Some(frame) = body.frame().await {
        let data: Bytes = frame.unwrap().into_data().unwrap_or_default();
        bytes += data.len() as u64;
        let room = KEPT - beginning.len();
        beginning.extend_from_slice(&data[..data.len().min(room)]);
    }
    (bytes, beginning)
}

async fn image(State(script): State<Arc<Script>>, Path(id): Path<i64>) -> Response {
    let mut records = script.records.lock().unwrap();
    let Some(steps) = records.get_mut(&id).filter(|steps| !steps.is_empty()) else {
        return (StatusCode::NOT_FOUND, Json(json!({ "title": "no such image" }))).into_response();
    };
    let (status, record) = steps[0].clone();
    if steps.len() > 1 {
        steps.pop_front();
    }
    (status, Json(record)).into_response()
}
