//! A receiver on a free port, on SQLite and the embedded queue, as the tests talk to it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses its own part")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use safelight_database::{Database, Options};
use safelight_media::{Library, MediaArgs};
use safelight_queue::{CHANNEL, Queue, Subscription, TOPIC_IMAGES, decode_id};
use safelight_receiver::{Deps, Limits, ServeError, serve};
use safelight_service::Shutdown;
use safelight_store::{Store, StoreArgs};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How long a test waits for what must come.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Served {
    pub address: SocketAddr,
    pub database: Database,
    pub queue: Queue,
    pub shutdown: Shutdown,
    pub task: JoinHandle<Result<(), ServeError>>,
    pub client: reqwest::Client,
    /// The one folder that pictures may come from.
    pub pictures: PathBuf,
    pub store: Option<Store>,
    pub folder: TempDir,
}

impl Served {
    pub async fn start() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub async fn with_limits(limits: Limits) -> Self {
        Self::with(limits, None, tempfile::tempdir().unwrap()).await
    }

    /// With a store, which lies in `folder`/store.
    pub async fn with_store(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreArgs::of_folder(&folder.path().join("store"))).unwrap();
        Self::with(limits, Some(store), folder).await
    }

    async fn with(limits: Limits, store: Option<Store>, folder: TempDir) -> Self {
        let database = database(&folder).await;
        let queue = Queue::embedded(database.embedded_queue().unwrap());
        let pictures = folder.path().join("pictures");
        std::fs::create_dir(&pictures).unwrap();
        let library = Library::new(&MediaArgs::with_roots([pictures.clone()])).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let deps = Deps {
            database: database.clone(),
            queue: queue.clone(),
            library,
            store: store.clone(),
            limits,
        };
        let task = tokio::spawn(serve(listener, deps, shutdown.clone()));
        let client = reqwest::Client::new();
        Self {
            address,
            database,
            queue,
            shutdown,
            task,
            client,
            pictures,
            store,
            folder,
        }
    }

    /// A path that is let in; no file need be there.
    pub fn path(&self, name: &str) -> String {
        self.pictures.join(name).display().to_string()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    /// Posts as `curl -d` does: with a form's content type, whatever the body is.
    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Response {
        let request = self
            .client
            .post(self.url(path))
            .header("content-type", "application/x-www-form-urlencoded");
        request.body(body).send().await.unwrap()
    }

    pub async fn post_image(&self, path: &str) -> Response {
        self.post("/image/post", serde_json::json!({ "path": path }).to_string())
            .await
    }

    pub async fn subscribe(&self) -> Subscription {
        self.queue.subscribe(TOPIC_IMAGES, CHANNEL, 64).unwrap()
    }
}

pub async fn database(folder: &TempDir) -> Database {
    let url = format!("sqlite://{}", folder.path().join("safelight.db").display());
    let database = Database::connect(&url, &Options::default()).await.unwrap();
    database.migrate().await.unwrap();
    database
}

/// The ids of the next messages, each finished.
pub async fn announced(subscription: &mut Subscription, count: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let delivery = tokio::time::timeout(DEADLINE, subscription.next())
            .await
            .unwrap()
            .unwrap();
        ids.push(decode_id(delivery.body()).unwrap());
        delivery.finish().await.unwrap();
    }
    ids.sort_unstable();
    ids
}

/// Checks the shape that every error has, and gives its kind without the common prefix.
pub async fn problem(response: Response, status: StatusCode) -> (String, String) {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    problem_of(&problem, status)
}

pub fn problem_of(problem: &Value, status: StatusCode) -> (String, String) {
    assert_eq!(problem["status"], status.as_u16(), "{problem}");
    assert!(
        problem["title"].as_str().is_some_and(|title| !title.is_empty()),
        "{problem}"
    );
    let kind = problem["type"]
        .as_str()
        .unwrap()
        .strip_prefix("urn:safelight:problem:")
        .unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        !detail.contains("panicked") && !detail.contains(".rs:") && !detail.contains("SELECT"),
        "{detail}"
    );
    (kind.to_owned(), detail.to_owned())
}

/// Waits until `holds` says so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(DEADLINE, waiting).await.is_ok(),
        "never came: {what}"
    );
}
