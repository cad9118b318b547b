//! The records of images.

use crate::batch_record::batch_record;
use crate::faces::FaceRow;
use crate::listing::{ImageRow, people_of};
use crate::outputs::OutputRow;
use crate::session::reading;
use crate::{BatchRecord, Database, Error, FaceRecord, OutputRecord, Status, TaskRecord, TaskState};

/// The records of images: accepting ([`Images::accept`]), reading, listing. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Images {
    pub(crate) database: Database,
}

/// An image, as a list shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRecord {
    /// Its id, greater than those of images accepted before it.
    pub id: i64,
    /// Its media URI.
    pub path: String,
    /// What the user called the file; a name for people and never a path.
    pub name: Option<String>,
    /// How far it is.
    pub status: Status,
    /// The project it belongs to.
    pub project: Option<String>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Who is in it, by name.
    pub people: Vec<String>,
    /// When it was accepted.
    pub created_at_ms: i64,
    /// When its status changed last.
    pub updated_at_ms: i64,
    /// The service that it waits for.
    pub waiting_for: Option<String>,
    /// From the claim at which its work began to the end of the work, in milliseconds. Waiting for a service
    /// does not count.
    pub duration_ms: Option<i64>,
    /// How far the best match is from its sample; smaller is more alike.
    pub distance: Option<f32>,
}

/// An image with all that is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageDetail {
    /// What a list shows.
    pub image: ImageRecord,
    /// The upright picture's width in pixels, once it was opened.
    pub width: Option<u32>,
    /// The upright picture's height in pixels, once it was opened.
    pub height: Option<u32>,
    /// Its media type by content, once it was looked at.
    pub content_type: Option<String>,
    /// The size of the file, where it is known.
    pub bytes: Option<u64>,
    /// The work on it.
    pub tasks: Vec<TaskRecord>,
    /// What was made of it.
    pub outputs: Vec<OutputRecord>,
    /// The batch it came in with.
    pub batch: Option<BatchRecord>,
    /// The faces in it, in the order in which they were recorded.
    pub faces: Vec<FaceRecord>,
}

/// How many images there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nobody works on them; those that wait for a service are among them.
    pub pending: u64,
    /// Done.
    pub processed: u64,
    /// Failed.
    pub failed: u64,
    /// A worker holds them.
    pub processing: u64,
    /// Waiting for a service.
    pub waiting: u64,
}

#[derive(sqlx::FromRow)]
struct TaskRow {
    id: i64,
    kind: String,
    state: i64,
    held: i64,
    available_at: i64,
    claims: i64,
    tries: i64,
    waits: i64,
    waiting_for: Option<String>,
    reason: Option<String>,
    model: Option<String>,
    model_version: Option<String>,
    started_at: Option<i64>,
    ended_at: Option<i64>,
}

// === impl Images ===

impl Images {
    /// One image with its tasks and faces, `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn get(&self, id: i64) -> Result<Option<ImageDetail>, Error> {
        let found = reading!(self.database, "get_image", |connection| {
            let image: Option<ImageRow> = sqlx::query_as(concat!(
                "SELECT ",
                crate::listing::columns!(),
                " WHERE images.id = ?"
            ))
            .bind(id)
            .fetch_optional(&mut *connection)
            .await?;
            match image {
                None => None,
                Some(image) => {
                    let tasks: Vec<TaskRow> = sqlx::query_as(concat!(
                        "SELECT id, kind, state, CASE WHEN state = 0 AND token IS NOT NULL AND available_at > ",
                        now!(),
                        " THEN 1 ELSE 0 END AS held, available_at, claims, tries, waits, waiting_for, reason, \
                         model, model_version, started_at, ended_at FROM tasks WHERE image_id = ? ORDER BY id",
                    ))
                    .bind(id)
                    .fetch_all(&mut *connection)
                    .await?;
                    let faces: Vec<FaceRow> = sqlx::query_as(
                        "SELECT box_left, box_top, box_width, box_height, landmarks, descriptor, \
                         person.name, sample, distance \
                         FROM faces LEFT JOIN person ON person.id = faces.person_id \
                         WHERE image_id = ? ORDER BY faces.id",
                    )
                    .bind(id)
                    .fetch_all(&mut *connection)
                    .await?;
                    let outputs: Vec<OutputRow> = sqlx::query_as(
                        "SELECT role, uri, content_type, width, height, bytes, content_hash FROM outputs \
                         WHERE image_id = ? ORDER BY id",
                    )
                    .bind(id)
                    .fetch_all(&mut *connection)
                    .await?;
                    let batch = match image.batch_id {
                        None => None,
                        Some(batch_id) => Some(batch_record!(connection, batch_id)),
                    };
                    let people = people_of!(connection, [id]);
                    Some((image, tasks, faces, outputs, batch, people))
                }
            }
        })?;

        let Some((image, tasks, faces, outputs, batch, people)) = found else {
            return Ok(None);
        };
        let pixels = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        Ok(Some(ImageDetail {
            width: pixels(image.width),
            height: pixels(image.height),
            content_type: image.content_type.clone(),
            bytes: image.bytes.and_then(|number| u64::try_from(number).ok()),
            batch,
            outputs: outputs
                .into_iter()
                .map(OutputRow::into_record)
                .collect::<Result<_, _>>()?,
            image: image.into_record(people.into_iter().map(|(_, name)| name).collect())?,
            tasks: tasks
                .into_iter()
                .map(TaskRow::into_record)
                .collect::<Result<_, _>>()?,
            faces: faces
                .into_iter()
                .map(FaceRow::into_record)
                .collect::<Result<_, _>>()?,
        }))
    }

    /// Counts the images by status. Reads an index from end to end: for a page or a metric, not for every
    /// request.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn counts(&self) -> Result<Counts, Error> {
        let (by_status, waiting) = reading!(self.database, "count_images", |connection| {
            let by_status: Vec<(i64, i64)> =
                sqlx::query_as("SELECT status, COUNT(*) FROM images GROUP BY status")
                    .fetch_all(&mut *connection)
                    .await?;
            let waiting: i64 = sqlx::query_scalar(
                "SELECT COUNT(DISTINCT image_id) FROM tasks WHERE state = 0 AND waiting_for IS NOT NULL",
            )
            .fetch_one(&mut *connection)
            .await?;
            (by_status, waiting)
        })?;

        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        let mut counts = Counts {
            waiting: count(waiting),
            ..Counts::default()
        };
        for (status, number) in by_status {
            let place = match Status::from_number(status)? {
                Status::Pending => &mut counts.pending,
                Status::Processed => &mut counts.processed,
                Status::Failed => &mut counts.failed,
                Status::Processing => &mut counts.processing,
            };
            *place = count(number);
        }
        Ok(counts)
    }
}

// === impl TaskRow ===

impl TaskRow {
    fn into_record(self) -> Result<TaskRecord, Error> {
        let count = |number: i64| u32::try_from(number).unwrap_or(0);
        Ok(TaskRecord {
            id: self.id,
            kind: self.kind,
            state: TaskState::from_number(self.state)?,
            held: self.held != 0,
            available_at_ms: self.available_at,
            claims: count(self.claims),
            tries: count(self.tries),
            waits: count(self.waits),
            waiting_for: self.waiting_for,
            reason: self.reason,
            model: self.model,
            model_version: self.model_version,
            started_at_ms: self.started_at,
            ended_at_ms: self.ended_at,
        })
    }
}
