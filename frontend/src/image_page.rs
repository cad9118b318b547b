//! The page of one image.

use askama::Template;
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use safelight_database::{
    BatchRecord, FaceRecord, ImageDetail, NotificationRecord, NotificationState, OutputRecord, TaskRecord,
    TaskState,
};

use crate::error_page::PageError;
use crate::list_page::alternative_text;
use crate::page::{self, PersonLink, ShownPath};
use crate::server::App;
use crate::stamp::{Stamp, duration};
use crate::state::State;

#[derive(Template)]
#[template(path = "image.html")]
struct ImagePage {
    id: i64,
    uri: String,
    path: ShownPath,
    alt: String,
    state: State,
    reason: Option<String>,
    waiting_for: Option<String>,
    /// Why the picture itself is not on the page.
    not_shown: Option<String>,
    size: Option<(u32, u32)>,
    /// In pixels of the picture, so that labels scale with it.
    label_size: u32,
    label_halo: u32,
    /// The output that stands for a picture which is not shown.
    stand_in: Option<Output>,
    /// Whether faces are looked for in it, as they are not in films.
    searched: bool,
    faces: Vec<Face>,
    tasks: Vec<Task>,
    outputs: Vec<Output>,
    job: Option<Job>,
    content_type: Option<String>,
    posted: Stamp,
    changed: Stamp,
    took: Option<String>,
    project: Option<String>,
}

struct Face {
    number: usize,
    left: i32,
    top: i32,
    width: u32,
    height: u32,
    label: String,
    label_x: i64,
    label_y: i64,
    label_anchor: &'static str,
    person: Option<PersonLink>,
    sample: Option<String>,
    distance: Option<String>,
}

struct Task {
    kind: String,
    state: State,
    tries: u32,
    waits: u32,
    next: Option<Stamp>,
    began: Option<Stamp>,
    took: Option<String>,
    reason: Option<String>,
    model: Option<String>,
}

/// Something that was made of the image.
#[derive(Clone)]
struct Output {
    role: String,
    /// For people.
    title: String,
    size: Option<(u32, u32)>,
    bytes: String,
}

/// What the image came in with.
struct Job {
    id: i64,
    joined: Option<Stamp>,
    notifications: Vec<Notification>,
}

struct Notification {
    channel: String,
    state: State,
    text: &'static str,
    tries: u32,
    next: Option<Stamp>,
    reason: Option<String>,
}

pub(crate) async fn show(Shared(app): Shared<App>, Path(id): Path<String>) -> Result<Response, PageError> {
    let detail = app.detail(&id).await?;
    let not_shown = match app.pictures.showable(&detail.image.path).await {
        Ok(()) => None,
        Err(PageError::Picture(reason)) => Some(reason.to_string()),
        // The page is worth more than the picture on it.
        Err(_) => Some("too much is being sent already".to_owned()),
    };
    page::html(StatusCode::OK, &ImagePage::new(detail, not_shown))
}

impl ImagePage {
    fn new(detail: ImageDetail, not_shown: Option<String>) -> Self {
        let ImageDetail {
            image,
            width,
            height,
            tasks,
            faces,
            outputs,
            batch,
            content_type,
            ..
        } = detail;
        let state = State::of(&image);
        let path = ShownPath::new(&image.path, image.name.as_deref());
        let stand_in = match not_shown {
            Some(_) => stand_in(&outputs),
            None => None,
        };
        let size = width.zip(height);
        let longest = size.map_or(0, |(width, height)| width.max(height));
        let label_size = (longest / 40).max(9);
        let labels = Labels {
            size: label_size.into(),
            picture_width: size.map_or(0, |(width, _)| width.into()),
        };
        let faces: Vec<Face> = faces
            .into_iter()
            .enumerate()
            .map(|(index, face)| labels.label(index + 1, face))
            .collect();
        Self {
            id: image.id,
            alt: alternative_text(&image.people, &path.name, &state),
            uri: image.path,
            path,
            reason: image.reason,
            waiting_for: image.waiting_for,
            // What was only just posted may still turn out to be a picture.
            searched: !tasks.iter().any(|task| task.kind == "frame"),
            tasks: tasks.into_iter().map(Task::new).collect(),
            outputs: outputs.into_iter().map(Output::from).collect(),
            job: batch.map(Job::from),
            stand_in,
            content_type,
            state,
            not_shown,
            size,
            label_size,
            label_halo: (label_size / 5).max(1),
            faces,
            posted: Stamp(image.created_at_ms),
            changed: Stamp(image.updated_at_ms),
            took: image.duration_ms.map(duration),
            project: image.project,
        }
    }
}

/// Where the names of faces stand in a picture.
struct Labels {
    size: i64,
    picture_width: i64,
}

impl Labels {
    fn label(&self, number: usize, face: FaceRecord) -> Face {
        let (left, top) = (i64::from(face.left), i64::from(face.top));
        let (right, bottom) = (left + i64::from(face.width), top + i64::from(face.height));
        // Above the box, and below it where there is no room above.
        let fits_above = top > self.size * 3 / 2;
        let label_y = if fits_above {
            top - self.size / 2
        } else {
            bottom + self.size * 5 / 4
        };
        let on_the_right = left > self.picture_width * 3 / 4;
        let label = match &face.person {
            Some(person) => format!("{number} {person}"),
            None => number.to_string(),
        };
        Face {
            number,
            left: face.left,
            top: face.top,
            width: face.width,
            height: face.height,
            label,
            label_x: if on_the_right { right } else { left },
            label_y,
            label_anchor: if on_the_right { "end" } else { "start" },
            person: face.person.map(PersonLink::from),
            sample: face.sample,
            distance: face.distance.map(|distance| format!("{distance:.3}")),
        }
    }
}

/// The best picture among the outputs.
fn stand_in(outputs: &[OutputRecord]) -> Option<Output> {
    [
        "thumbnail-large",
        "thumbnail-medium",
        "thumbnail-small",
        "frame",
        "animation",
    ]
    .iter()
    .find_map(|role| outputs.iter().find(|output| output.role == *role))
    .map(|output| Output::from(output.clone()))
}

impl From<OutputRecord> for Output {
    fn from(output: OutputRecord) -> Self {
        let title = match output.role.as_str() {
            "thumbnail-small" => "Small",
            "thumbnail-medium" => "Medium",
            "thumbnail-large" => "Large",
            "frame" => "Frame",
            "animation" => "Animation",
            other => other,
        };
        Self {
            title: title.to_owned(),
            size: output.width.zip(output.height),
            bytes: bytes(output.bytes),
            role: output.role,
        }
    }
}

/// A size for people.
fn bytes(count: u64) -> String {
    match count {
        0..1000 => format!("{count} bytes"),
        1000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

impl From<BatchRecord> for Job {
    fn from(batch: BatchRecord) -> Self {
        Self {
            id: batch.id,
            joined: batch.joined_at_ms.map(Stamp),
            notifications: batch.notifications.into_iter().map(Notification::from).collect(),
        }
    }
}

impl From<NotificationRecord> for Notification {
    fn from(record: NotificationRecord) -> Self {
        let (state, text) = match record.state {
            NotificationState::Ready => (State::Pending, "to be sent"),
            NotificationState::Sent => (State::Processed, "sent"),
            NotificationState::Failed => (State::Failed, "given up"),
        };
        Self {
            next: (record.state == NotificationState::Ready).then_some(Stamp(record.available_at_ms)),
            channel: record.channel,
            state,
            text,
            tries: record.tries,
            reason: record.reason,
        }
    }
}

impl Task {
    fn new(task: TaskRecord) -> Self {
        let state = match (task.state, task.waiting_for) {
            (TaskState::Done, _) => State::Processed,
            (TaskState::Failed, _) => State::Failed,
            (TaskState::Ready, _) if task.held => State::Processing,
            (TaskState::Ready, Some(service)) => State::Waiting(service),
            (TaskState::Ready, None) => State::Pending,
        };
        let next = matches!(state, State::Pending | State::Waiting(_)).then_some(Stamp(task.available_at_ms));
        let model = task.model.filter(|model| !model.is_empty());
        let version = task.model_version.unwrap_or_default();
        let span = task.started_at_ms.zip(task.ended_at_ms);
        Self {
            kind: task.kind,
            state,
            tries: task.tries,
            waits: task.waits,
            next,
            began: task.started_at_ms.map(Stamp),
            took: span.map(|(began, ended)| duration(ended - began)),
            reason: task.reason,
            model: model.map(|model| format!("{model} {version}").trim_end().to_owned()),
        }
    }
}
