//! `GET /` and `GET /images/{id}`: what became of the images, as JSON.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use safelight_database::{
    BatchRecord, FaceRecord, ImageDetail, ImageRecord, ListQuery, NotificationRecord, NotificationState,
    OutputRecord, Status, TaskRecord, TaskState,
};
use safelight_service::Problem;
use serde::{Deserialize, Serialize};

use crate::problems;
use crate::server::App;

const DEFAULT_PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 1000;

/// What `GET /` may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    after: Option<i64>,
    limit: Option<u32>,
    status: Option<String>,
    project: Option<String>,
}

/// A page of records, by ascending id.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    images: Vec<Image>,
    /// The `after` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Image {
    id: i64,
    path: String,
    /// What the user called the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The service that it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<String>,
    people: Vec<String>,
    /// Of the best match; the smaller the surer.
    #[serde(skip_serializing_if = "Option::is_none")]
    distance: Option<f32>,
    /// Of the work that succeeded, from its first claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<i64>,
    created_at_ms: i64,
    updated_at_ms: i64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Detail {
    #[serde(flatten)]
    image: Image,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
    /// By content, once it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    faces: Vec<Face>,
    tasks: Vec<Task>,
    /// What was made of the image.
    outputs: Vec<Output>,
    /// What it came in with, where somebody is to be told of its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<Job>,
}

#[derive(Debug, Serialize)]
struct Output {
    role: String,
    /// Where it is to be had from, below the address that answered.
    link: String,
    uri: String,
    content_type: String,
    width: Option<u32>,
    height: Option<u32>,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct Job {
    id: i64,
    created_at_ms: i64,
    /// When all work of it had ended; `null` before.
    joined_at_ms: Option<i64>,
    notifications: Vec<Notification>,
}

#[derive(Debug, Serialize)]
struct Notification {
    /// `mail` or `webhook`.
    channel: String,
    state: NotificationState,
    tries: u32,
    /// Why it failed, or is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it is due; `null` once it was sent or given up.
    available_at_ms: Option<i64>,
    ended_at_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Face {
    left: i32,
    top: i32,
    width: u32,
    height: u32,
    person: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sample: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    distance: Option<f32>,
}

#[derive(Debug, Serialize)]
struct Task {
    kind: String,
    state: TaskState,
    /// Whether a worker has it.
    working: bool,
    tries: u32,
    /// How often it waited for a service; uses up no try.
    waits: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<String>,
    /// Why it failed, waits, or is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it is due; `null` once it has ended.
    available_at_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_version: Option<String>,
    started_at_ms: Option<i64>,
    ended_at_ms: Option<i64>,
}

pub(crate) async fn list(
    State(app): State<App>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let Query(wanted) = wanted.map_err(|error| problems::query_wrong(&error.body_text()))?;
    let limit = wanted.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(problems::query_wrong(&format!(
            "limit: {limit} was given; expected 1 to {LARGEST_PAGE}"
        )));
    }
    let query = ListQuery {
        after: wanted.after,
        limit,
        status: wanted
            .status
            .as_deref()
            .filter(|status| !status.is_empty())
            .map(parse_status)
            .transpose()?,
        project: wanted.project.filter(|project| !project.is_empty()),
        person: None,
        newest_first: false,
    };
    let records = app
        .images
        .list(&query)
        .await
        .map_err(|error| problems::database_failed(&error))?;
    let next = match records.last() {
        Some(last) if records.len() == limit as usize => Some(last.id),
        _ => None,
    };
    Ok(Json(Page {
        images: records.into_iter().map(Image::from).collect(),
        next,
    }))
}

pub(crate) async fn one(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Detail>, Problem> {
    let Some(number) = id.parse().ok().filter(|number| *number > 0) else {
        return Err(problems::image_unknown(&id));
    };
    match app.images.get(number).await {
        Ok(Some(detail)) => Ok(Json(detail.into())),
        Ok(None) => Err(problems::image_unknown(&id)),
        Err(error) => Err(problems::database_failed(&error)),
    }
}

fn parse_status(text: &str) -> Result<Status, Problem> {
    text.parse().map_err(|_| {
        let given: String = text.chars().take(40).collect();
        problems::query_wrong(&format!(
            "status: '{given}' was given; expected one of: pending, processing, processed, failed"
        ))
    })
}

impl From<ImageRecord> for Image {
    fn from(record: ImageRecord) -> Self {
        Self {
            id: record.id,
            path: record.path,
            name: record.name,
            status: record.status.as_str(),
            project: record.project,
            reason: record.reason,
            waiting_for: record.waiting_for,
            people: record.people,
            distance: record.distance,
            duration_ms: record.duration_ms,
            created_at_ms: record.created_at_ms,
            updated_at_ms: record.updated_at_ms,
        }
    }
}

impl From<ImageDetail> for Detail {
    fn from(detail: ImageDetail) -> Self {
        let id = detail.image.id;
        let outputs = detail.outputs.into_iter();
        Self {
            outputs: outputs.map(|output| Output::new(id, output)).collect(),
            job: detail.batch.map(Job::from),
            content_type: detail.content_type,
            bytes: detail.bytes,
            image: detail.image.into(),
            width: detail.width,
            height: detail.height,
            faces: detail.faces.into_iter().map(Face::from).collect(),
            tasks: detail.tasks.into_iter().map(Task::from).collect(),
        }
    }
}

impl Output {
    fn new(image: i64, output: OutputRecord) -> Self {
        Self {
            link: format!("/images/{image}/outputs/{}", output.role),
            role: output.role,
            uri: output.uri,
            content_type: output.content_type,
            width: output.width,
            height: output.height,
            bytes: output.bytes,
        }
    }
}

impl From<BatchRecord> for Job {
    fn from(batch: BatchRecord) -> Self {
        let notifications = batch.notifications.into_iter();
        Self {
            id: batch.id,
            created_at_ms: batch.created_at_ms,
            joined_at_ms: batch.joined_at_ms,
            notifications: notifications.map(Notification::from).collect(),
        }
    }
}

impl From<NotificationRecord> for Notification {
    fn from(record: NotificationRecord) -> Self {
        let due = record.state == NotificationState::Ready;
        Self {
            channel: record.channel,
            state: record.state,
            tries: record.tries,
            reason: record.reason,
            available_at_ms: due.then_some(record.available_at_ms),
            ended_at_ms: record.ended_at_ms,
        }
    }
}

impl From<FaceRecord> for Face {
    fn from(face: FaceRecord) -> Self {
        Self {
            left: face.left,
            top: face.top,
            width: face.width,
            height: face.height,
            person: face.person,
            sample: face.sample,
            distance: face.distance,
        }
    }
}

impl From<TaskRecord> for Task {
    fn from(task: TaskRecord) -> Self {
        Self {
            kind: task.kind,
            state: task.state,
            working: task.held,
            tries: task.tries,
            waits: task.waits,
            waiting_for: task.waiting_for,
            reason: task.reason,
            available_at_ms: (task.state == TaskState::Ready).then_some(task.available_at_ms),
            model: task.model,
            model_version: task.model_version,
            started_at_ms: task.started_at_ms,
            ended_at_ms: task.ended_at_ms,
        }
    }
}
