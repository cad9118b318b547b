//! The receiver as one piece: its routes, its acceptors, its relay.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::BoxError;
use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use safelight_database::{Database, Images};
use safelight_media::Library;
use safelight_queue::{Queue, Relay, RelaySettings};
use safelight_service::{MeshAdmin, Problem, Readiness, Shutdown, ops_router};
use safelight_store::Store;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::catch_panic::CatchPanicLayer;

use crate::accept::Acceptor;
use crate::body::Bodies;
use crate::door::Door;
use crate::outputs::{self, Outputs};
use crate::prepare::{self, Desk};
use crate::{Limits, UploadSweep, post, problems, records};

/// How often the database is asked whether it is there.
const READINESS_INTERVAL: Duration = Duration::from_secs(2);

/// What a receiver works with.
#[derive(Clone)]
pub struct Deps {
    /// Where images are recorded.
    pub database: Database,
    /// Where they are announced. It may be away.
    pub queue: Queue,
    /// Which paths are let in.
    pub library: Library,
    /// Where uploads are put; without one none are taken.
    pub store: Option<Store>,
    /// What is taken at most.
    pub limits: Limits,
}

/// Why a receiver ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener failed.
    #[error("cannot serve http: {0}")]
    Http(#[from] io::Error),
}

/// What every handler works with.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) bodies: Bodies,
    pub(crate) door: Door,
    /// Single posts share transactions among themselves, so that none waits for the thousands of a bulk.
    pub(crate) singles: Acceptor,
    pub(crate) bulks: Acceptor,
    pub(crate) images: Images,
    /// Wakes the relay.
    pub(crate) committed: Arc<Notify>,
    pub(crate) bulk_entries: u32,
}

/// Serves the receiver on `listener` until `shutdown`: then takes no new connection, answers what runs,
/// publishes what is left of the outbox while the queue is there, and returns.
///
/// Ready means that the database is there. The queue may be away without harm to any post, so it does not
/// count; the gauges `safelight_relay_there{side="queue"}` and `safelight_outbox_entries` tell of it.
///
/// # Errors
/// [`ServeError::Http`] when the listener fails.
pub async fn serve(listener: TcpListener, deps: Deps, shutdown: Shutdown) -> Result<(), ServeError> {
    let readiness = Readiness::new(shutdown.clone());
    let asked = deps.database.clone();
    readiness.register("database", READINESS_INTERVAL, move || {
        let database = asked.clone();
        async move { database.ping().await.map_err(|error| error.to_string()) }
    });

    let committed = Arc::new(Notify::new());
    // The relay ends after the last post was answered, so that it can publish that one too.
    let relay_shutdown = Shutdown::new();
    let relay = Relay::new(
        deps.database.clone(),
        deps.queue,
        Arc::clone(&committed),
        RelaySettings::default(),
    );
    let relay = tokio::spawn(relay.run(relay_shutdown.clone()));

    let sweep = deps.store.clone().map(|store| {
        let sweep = UploadSweep::new(&deps.database, store);
        tokio::spawn(sweep.run(deps.limits.uploads.given_up_after(), shutdown.clone()))
    });

    let store = deps.store.as_ref().map(|store| deps.library.of_store(store));
    let outputs = Outputs::new(deps.database.images(), store);
    let desk = Desk::new(&deps.database, deps.store, &committed, &deps.limits);
    let (app, acceptors) = App::start(&deps.database, deps.library, &deps.limits, &committed);
    let router = router(app, desk, outputs, &deps.limits, readiness);
    let served = safelight_service::serve(listener, router, shutdown).await;

    if let Some(task) = sweep {
        join(task, "sweep").await;
    }
    for task in acceptors {
        join(task, "acceptor").await;
    }
    relay_shutdown.trigger();
    join(relay, "relay").await;
    Ok(served?)
}

impl App {
    fn start(
        database: &Database,
        library: Library,
        limits: &Limits,
        committed: &Arc<Notify>,
    ) -> (Self, [JoinHandle<()>; 2]) {
        let most = limits.transaction_images as usize;
        let waiting = limits.concurrent_requests.into();
        let (singles, single_task) = Acceptor::start(database.images(), Arc::clone(committed), most, waiting);
        let (bulks, bulk_task) = Acceptor::start(database.images(), Arc::clone(committed), most, waiting);
        let app = Self {
            bodies: Bodies::new(limits),
            door: Door::new(library, limits.webhook_http),
            singles,
            bulks,
            images: database.images(),
            committed: Arc::clone(committed),
            bulk_entries: limits.bulk_entries,
        };
        (app, [single_task, bulk_task])
    }
}

fn router(app: App, desk: Desk, outputs: Outputs, limits: &Limits, readiness: Readiness) -> Router {
    let seconds = limits.request_seconds.into();
    let bounds = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(move |error| async move {
            bound_reached(&error, seconds)
        }))
        .load_shed()
        .layer(GlobalConcurrencyLimitLayer::new(
            limits.concurrent_requests.into(),
        ))
        .timeout(limits.request_timeout());
    let api = Router::new()
        .route("/", get(records::list))
        .route("/images/{id}", get(records::one))
        .route("/image/post", post(post::one))
        .route("/images/post", post(post::many))
        .layer(bounds)
        .with_state(app);
    // An upload takes its time, and waits for others instead of being turned away. Its bounds are the desk's.
    let uploads = Router::new()
        .route("/prepare", post(prepare::prepare))
        .with_state(desk);
    let outputs = Router::new()
        .route("/images/{id}/outputs/{role}", get(outputs::one))
        .with_state(outputs);
    // Probes and metrics stay out of the bounds: they are most wanted when the receiver is full.
    api.merge(uploads)
        .merge(outputs)
        .merge(ops_router(readiness, &MeshAdmin::default()))
        .fallback(|uri: Uri| async move { problems::route_unknown(&uri) })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            problems::method_wrong(&method, &uri)
        })
        .layer(CatchPanicLayer::custom(panicked))
}

fn bound_reached(error: &BoxError, seconds: u64) -> Problem {
    if error.is::<tower::load_shed::error::Overloaded>() {
        problems::overloaded()
    } else if error.is::<tower::timeout::error::Elapsed>() {
        problems::request_late(seconds)
    } else {
        tracing::error!(%error, "a request failed");
        problems::internal()
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let reason = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let reason = reason
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(reason, "a handler panicked");
    problems::internal().into_response()
}

async fn join(task: JoinHandle<()>, name: &str) {
    if let Err(error) = task.await {
        tracing::error!(%error, task = name, "a task of the receiver failed");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_with_a_problem_that_keeps_its_words_to_itself() {
        async fn broken() {
            panic!("the secret of line 7");
        }
        let router = Router::new()
            .route("/", get(broken))
            .layer(CatchPanicLayer::custom(panicked));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        let body = String::from_utf8_lossy(&body);
        assert!(
            body.contains("urn:safelight:problem:internal") && !body.contains("secret"),
            "{body}"
        );
    }
}
