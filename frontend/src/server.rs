//! The frontend as one piece.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{BoxError, Router};
use safelight_database::{Database, ImageDetail, Images};
use safelight_media::Library;
use safelight_service::{MeshAdmin, Readiness, Shutdown, ops_router};
use tokio::net::TcpListener;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::catch_panic::CatchPanicLayer;

use crate::error_page::PageError;
use crate::picture::Pictures;
use crate::tally::Tally;
use crate::{Settings, assets, image_page, list_page, page, picture};

/// How often the database is asked whether it is there.
const READINESS_INTERVAL: Duration = Duration::from_secs(2);

/// What a frontend works with.
#[derive(Clone)]
pub struct Deps {
    /// Where the images are recorded. It is read only.
    pub database: Database,
    /// Where the pictures are.
    pub library: Library,
    /// How the pages look, and what they may cost.
    pub settings: Settings,
}

/// What every handler works with.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) images: Images,
    pub(crate) tally: Tally,
    pub(crate) pictures: Pictures,
    pub(crate) settings: Arc<Settings>,
}

impl App {
    /// The image that a part of a URL names.
    pub(crate) async fn detail(&self, id: &str) -> Result<ImageDetail, PageError> {
        let id = id
            .parse()
            .ok()
            .filter(|id| *id > 0)
            .ok_or(PageError::NoSuchImage)?;
        self.images.get(id).await?.ok_or(PageError::NoSuchImage)
    }

    pub(crate) async fn path_of(&self, id: &str) -> Result<String, PageError> {
        Ok(self.detail(id).await?.image.path)
    }
}

/// Serves the pages on `listener` until `shutdown`. Ready means that the database is there.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, deps: Deps, shutdown: Shutdown) -> io::Result<()> {
    let readiness = Readiness::new(shutdown.clone());
    let asked = deps.database.clone();
    readiness.register("database", READINESS_INTERVAL, move || {
        let database = asked.clone();
        async move { database.ping().await.map_err(|error| error.to_string()) }
    });
    safelight_service::serve(listener, router(deps, readiness), shutdown).await
}

fn router(deps: Deps, readiness: Readiness) -> Router {
    let Deps {
        database,
        library,
        settings,
    } = deps;
    let bounds = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(
            |error| async move { bound_reached(&error) },
        ))
        .load_shed()
        .layer(GlobalConcurrencyLimitLayer::new(
            settings.concurrent_requests.into(),
        ))
        .timeout(Duration::from_secs(settings.request_seconds.into()));
    let pictures = Pictures::new(library, settings.picture_streams, settings.inline_limit);
    let images = database.images();
    let app = App {
        tally: Tally::new(images.clone()),
        images,
        pictures,
        settings: settings.into(),
    };
    let pages = Router::new()
        .route("/", get(list_page::show))
        .route("/images/{id}", get(image_page::show))
        .route("/images/{id}/picture", get(picture::original))
        .route("/images/{id}/preview", get(picture::preview))
        .route("/images/{id}/outputs/{role}", get(picture::made))
        .layer(bounds)
        .with_state(app);
    pages
        .route("/assets/style.css", get(assets::style))
        .route("/assets/live.js", get(assets::script))
        .route("/assets/logo.svg", get(assets::logo))
        .merge(ops_router(readiness, &MeshAdmin::default()))
        .fallback(|| async { PageError::NotFound })
        .method_not_allowed_fallback(|| async { PageError::MethodNotAllowed })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(map_response(page::secure))
}

fn bound_reached(error: &BoxError) -> PageError {
    if error.is::<tower::load_shed::error::Overloaded>() {
        PageError::Overloaded
    } else if error.is::<tower::timeout::error::Elapsed>() {
        PageError::Late
    } else {
        tracing::error!(%error, "a request failed");
        PageError::Internal
    }
}

fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let reason = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let reason = reason
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(reason, "a page panicked");
    PageError::Internal.into_response()
}
