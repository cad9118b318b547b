//! The endpoints that every service has on its HTTP port: `/alive`, `/ready`, `/metrics`, `/mesh`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::{MeshAdmin, Readiness, metrics};

/// `/alive` answers `OK` while the process can answer at all; `/ready` answers `OK`, or 503 and what is
/// missing, a line each; `/metrics` answers in the Prometheus text format; `/mesh` and what is below it shows the targets
/// that the service calls: of a service that calls none, an empty list.
pub fn ops_router(readiness: Readiness, mesh: &MeshAdmin) -> Router {
    Router::new()
        .route("/alive", get(|| async { "OK" }))
        .route("/ready", get(ready))
        .route("/metrics", get(render))
        .with_state(readiness)
        .merge(mesh.router())
}

async fn ready(State(readiness): State<Readiness>) -> impl IntoResponse {
    match readiness.state() {
        Ok(()) => (StatusCode::OK, "OK".to_owned()),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, missing),
    }
}

async fn render() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        metrics::install().render(),
    )
}
