//! The mesh over HTTP: where the targets of a service stand, why calls go where they go, orders to endpoints, and
//! faults for tests and game days.

mod fault_body;
mod guard;
mod page;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use clap::Args;
use clap::builder::BoolishValueParser;
use safelight_mesh::{EndpointHandle, EndpointSnapshot, Snapshot, Target};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Problem;
use fault_body::{FaultsBody, FaultsGiven};

/// What may be done to targets over HTTP, beside looking at them.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Mesh")]
pub struct MeshAdminArgs {
    /// whether circuits may be forced open and closed over HTTP: true or false
    #[arg(long = "mesh-admin", env = "MESH_ADMIN", value_name = "BOOL", default_value_t = false,
          action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub admin: bool,
    /// whether faults may be injected into calls over HTTP: true or false
    #[arg(long = "mesh-faults", env = "MESH_FAULTS", value_name = "BOOL", default_value_t = false,
          action = clap::ArgAction::Set, value_parser = BoolishValueParser::new())]
    pub faults: bool,
}

/// The targets of a service, shown on its HTTP port. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct MeshAdmin {
    allowed: MeshAdminArgs,
    targets: Arc<RwLock<BTreeMap<String, Target>>>,
}

#[derive(Serialize)]
struct Everything {
    targets: Vec<Snapshot>,
}

#[derive(Deserialize)]
struct Asked {
    target: Option<String>,
}

/// The body of an order; it may be empty.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderBody {
    /// Told to those who ask why the circuit is open.
    why: Option<String>,
}

/// What an order has led to.
#[derive(Serialize)]
struct Ordered {
    endpoints: Vec<EndpointSnapshot>,
}

const WITHOUT_A_REASON: &str = "by an operator";
const LONGEST_REASON: usize = 200;
const LARGEST_BODY: usize = 64 << 10;

// === impl MeshAdmin ===

impl MeshAdmin {
    /// One that shows no target yet.
    pub fn new(allowed: MeshAdminArgs) -> Self {
        Self {
            allowed,
            targets: Arc::default(),
        }
    }

    /// Shows this target from now on, and in the place of one of the same name.
    pub fn show(&self, target: Target) {
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        targets.insert(target.name().to_owned(), target);
    }

    /// `GET /mesh`, as a page where HTML is asked for; `GET /mesh/explain?target=NAME`; where `MESH_ADMIN` allows it
    /// `POST /mesh/targets/{target}/endpoints/{endpoint}/force-open`, `…/force-closed` and `…/reset`, with `all` for
    /// every endpoint; where `MESH_FAULTS` allows it `GET`, `PUT` and `DELETE /mesh/targets/{target}/faults`.
    pub fn router(&self) -> Router {
        let changing = Router::new()
            .route("/mesh/targets/{target}/endpoints/{endpoint}/{order}", post(order))
            .route(
                "/mesh/targets/{target}/faults",
                get(faults).put(put_faults).delete(delete_faults),
            )
            .layer(middleware::from_fn(guard::not_from_other_sites));
        Router::new()
            .route("/mesh", get(everything))
            .route("/mesh/page.css", get(page::style))
            .route("/mesh/page.js", get(page::script))
            .route("/mesh/explain", get(explain))
            .merge(changing)
            .method_not_allowed_fallback(method_not_allowed)
            .layer(DefaultBodyLimit::max(LARGEST_BODY))
            .with_state(self.clone())
    }

    fn all(&self) -> Vec<Target> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        targets.values().cloned().collect()
    }

    fn target(&self, name: &str) -> Result<Target, Problem> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        targets.get(name).cloned().ok_or_else(|| {
            Problem::new(
                StatusCode::NOT_FOUND,
                "mesh-target-unknown",
                "no such target",
                format!("there is no target {name}; {}", known(targets.keys())),
            )
        })
    }

    fn admin_allowed(&self) -> Result<(), Problem> {
        self.allowed.admin.then_some(()).ok_or_else(|| {
            Problem::new(
                StatusCode::FORBIDDEN,
                "mesh-admin-off",
                "orders are off",
                "circuits can be forced only where the service was started with MESH_ADMIN=true",
            )
        })
    }

    fn faults_allowed(&self) -> Result<(), Problem> {
        self.allowed.faults.then_some(()).ok_or_else(|| {
            Problem::new(
                StatusCode::FORBIDDEN,
                "mesh-faults-off",
                "fault injection is off",
                "faults can be injected only where the service was started with MESH_FAULTS=true",
            )
        })
    }
}

fn known<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.map(String::as_str).collect();
    if names.is_empty() {
        "this service has none".to_owned()
    } else {
        format!("this service has {}", names.join(", "))
    }
}

async fn everything(State(mesh): State<MeshAdmin>, headers: HeaderMap) -> Response {
    if prefers(&headers, "text/html") {
        return page::page(mesh.allowed.admin);
    }
    let targets = mesh.all().iter().map(Target::snapshot).collect();
    Json(Everything { targets }).into_response()
}

async fn explain(
    State(mesh): State<MeshAdmin>,
    headers: HeaderMap,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let name = asked.ok().and_then(|Query(asked)| asked.target);
    let Some(name) = name else {
        let targets = mesh.all();
        let names: Vec<String> = targets.iter().map(|target| target.name().to_owned()).collect();
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "mesh-target-missing",
            "no target was named",
            format!("expected /mesh/explain?target=NAME; {}", known(names.iter())),
        ));
    };
    let explanation = mesh.target(&name)?.explain();
    Ok(if prefers(&headers, "text/plain") {
        explanation.to_string().into_response()
    } else {
        Json(explanation).into_response()
    })
}

/// Whether this media type was asked for, and before JSON.
fn prefers(headers: &HeaderMap, media_type: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or_default().trim())
        .find_map(|range| match range {
            "application/json" => Some(false),
            range if range == media_type => Some(true),
            _ => None,
        })
        .unwrap_or(false)
}

async fn order(
    State(mesh): State<MeshAdmin>,
    Path((name, endpoint, order)): Path<(String, String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Ordered>, Problem> {
    let act: fn(&EndpointHandle, &str) = match order.as_str() {
        "force-open" => EndpointHandle::force_open,
        "force-closed" => |handle, _| handle.force_closed(),
        "reset" => |handle, _| handle.reset(),
        _ => {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "mesh-order-unknown",
                "no such order",
                format!("there is no order {order}; expected force-open, force-closed or reset"),
            ));
        }
    };
    mesh.admin_allowed()?;
    let target = mesh.target(&name)?;
    let handle = target.endpoint(&endpoint).map_err(|unknown| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "mesh-endpoint-unknown",
            "no such endpoint",
            unknown.to_string(),
        )
    })?;
    let body = match whole(body)? {
        empty if empty.is_empty() => OrderBody::default(),
        body => read(&body)?,
    };
    let why = body.why.unwrap_or_else(|| WITHOUT_A_REASON.to_owned());
    if why.len() > LONGEST_REASON || why.contains(char::is_control) {
        return Err(body_refused(format!(
            "the reason is to be one line of at most {LONGEST_REASON} bytes"
        )));
    }
    act(&handle, &why);
    let mut endpoints = target.snapshot().endpoints;
    endpoints.retain(|endpoint| handle.endpoints().any(|name| name == endpoint.endpoint));
    Ok(Json(Ordered { endpoints }))
}

async fn faults(
    State(mesh): State<MeshAdmin>,
    Path(name): Path<String>,
) -> Result<Json<FaultsBody>, Problem> {
    mesh.faults_allowed()?;
    let target = mesh.target(&name)?;
    Ok(Json(target.faults().into()))
}

async fn put_faults(
    State(mesh): State<MeshAdmin>,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<FaultsBody>, Problem> {
    mesh.faults_allowed()?;
    let target = mesh.target(&name)?;
    let given: FaultsGiven = read(&whole(body)?)?;
    let (faults, time) = given.into_faults().map_err(body_refused)?;
    target.inject_for(faults, time).map_err(body_refused)?;
    Ok(Json(target.faults().into()))
}

async fn delete_faults(
    State(mesh): State<MeshAdmin>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    mesh.faults_allowed()?;
    let target = mesh.target(&name)?;
    target.inject(Vec::new()).map_err(body_refused)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "not this method",
        "this address takes another method; the header Allow names them",
    )
}

fn whole(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    body.map_err(|rejection| Problem {
        status: rejection.status(),
        ..body_refused(rejection.body_text())
    })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(body_refused)
}

fn body_refused(why: impl ToString) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "mesh-body-refused",
        "the body cannot be taken",
        why.to_string(),
    )
}
