//! What a message about a job tells.

use std::collections::HashMap;

use crate::dialect::json_ids;
use crate::job_summary::called;
use crate::listing::people_of;
use crate::session::reading;
use crate::{Error, Notifications, Status};

/// The most images that are told of one by one.
const MOST_IMAGES: i64 = 50;

/// What became of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobReport {
    /// The job.
    pub batch_id: i64,
    /// When it was accepted.
    pub created_at_ms: i64,
    /// When the last of its work ended.
    pub joined_at_ms: Option<i64>,
    /// How many images it has.
    pub images_total: u64,
    /// How many of them are done.
    pub processed: u64,
    /// How many of them failed, at least in part.
    pub failed: u64,
    /// The first of them, in the order in which they came.
    pub images: Vec<ReportedImage>,
}

/// What became of one file of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportedImage {
    /// Its id.
    pub id: i64,
    /// What its sender called it, else the last part of its path. Anything may stand in it.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// Why it failed.
    pub reason: Option<String>,
    /// What it is, by its content.
    pub content_type: Option<String>,
    /// What was made of it.
    pub outputs: Vec<ReportedOutput>,
    /// What failed about it.
    pub failed_tasks: Vec<FailedTask>,
    /// Who is in it, by name.
    pub people: Vec<String>,
}

/// Something that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedOutput {
    /// What it is for, such as `thumbnail-small`.
    pub role: String,
    /// Where it lies.
    pub uri: String,
    /// What it is.
    pub content_type: String,
    /// Its width in pixels.
    pub width: Option<u32>,
    /// Its height in pixels.
    pub height: Option<u32>,
    /// Its size.
    pub bytes: u64,
}

/// A task that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedTask {
    /// What was to be done.
    pub kind: String,
    /// Why it could not be done.
    pub reason: Option<String>,
}

#[derive(sqlx::FromRow)]
struct OutputRow {
    image_id: i64,
    role: String,
    uri: String,
    content_type: String,
    width: Option<i64>,
    height: Option<i64>,
    bytes: i64,
}

#[derive(sqlx::FromRow)]
struct ImageRow {
    id: i64,
    path: String,
    name: Option<String>,
    status: i64,
    reason: Option<String>,
    content_type: Option<String>,
}

// === impl Notifications ===

impl Notifications {
    /// What is to be told of a job: its counts, and its first images one by one. `None` where there is no such job.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn letter(&self, batch_id: i64) -> Result<Option<JobReport>, Error> {
        let found = reading!(self.database, "letter", |connection| {
            let batch: Option<(i64, Option<i64>)> =
                sqlx::query_as("SELECT created_at, joined_at FROM batches WHERE id = ?")
                    .bind(batch_id)
                    .fetch_optional(&mut *connection)
                    .await?;
            match batch {
                None => None,
                Some(batch) => {
                    let counts: Vec<(i64, i64)> = sqlx::query_as(
                        "SELECT status, COUNT(*) FROM images WHERE batch_id = ? GROUP BY status",
                    )
                    .bind(batch_id)
                    .fetch_all(&mut *connection)
                    .await?;
                    let images: Vec<ImageRow> = sqlx::query_as(
                        "SELECT id, path, name, status, reason, content_type FROM images \
                         WHERE batch_id = ? ORDER BY id LIMIT ?",
                    )
                    .bind(batch_id)
                    .bind(MOST_IMAGES)
                    .fetch_all(&mut *connection)
                    .await?;
                    let ids = json_ids(images.iter().map(|image| image.id));
                    let outputs: Vec<OutputRow> = sqlx::query_as(concat!(
                        "SELECT image_id, role, uri, content_type, width, height, bytes FROM ",
                        chosen!(),
                        then_join!(),
                        "outputs ON image_id = chosen_id ORDER BY id"
                    ))
                    .bind(&ids)
                    .fetch_all(&mut *connection)
                    .await?;
                    let failed: Vec<(i64, String, Option<String>)> = sqlx::query_as(concat!(
                        "SELECT image_id, kind, reason FROM ",
                        chosen!(),
                        then_join!(),
                        "tasks ON image_id = chosen_id WHERE state = 2 ORDER BY id"
                    ))
                    .bind(&ids)
                    .fetch_all(&mut *connection)
                    .await?;
                    let people = people_of!(connection, images.iter().map(|image| image.id));
                    Some((batch, counts, images, outputs, failed, people))
                }
            }
        })?;
        let Some(((created_at_ms, joined_at_ms), counts, images, outputs, failed, people)) = found else {
            return Ok(None);
        };

        let mut of_image = Parts::default();
        for output in outputs {
            let id = output.image_id;
            of_image
                .outputs
                .entry(id)
                .or_default()
                .push(output.into_reported());
        }
        for (id, kind, reason) in failed {
            of_image
                .failed
                .entry(id)
                .or_default()
                .push(FailedTask { kind, reason });
        }
        for (id, name) in people {
            of_image.people.entry(id).or_default().push(name);
        }

        let mut report = JobReport {
            batch_id,
            created_at_ms,
            joined_at_ms,
            images_total: 0,
            processed: 0,
            failed: 0,
            images: Vec::with_capacity(images.len()),
        };
        for (status, count) in counts {
            let count = u64::try_from(count).unwrap_or(0);
            report.images_total += count;
            match Status::from_number(status)? {
                Status::Processed => report.processed += count,
                Status::Failed => report.failed += count,
                Status::Pending | Status::Processing => {}
            }
        }
        for image in images {
            report.images.push(image.into_reported(&mut of_image)?);
        }
        Ok(Some(report))
    }
}

/// What belongs to images, by their ids.
#[derive(Default)]
struct Parts {
    outputs: HashMap<i64, Vec<ReportedOutput>>,
    failed: HashMap<i64, Vec<FailedTask>>,
    people: HashMap<i64, Vec<String>>,
}

impl ImageRow {
    fn into_reported(self, parts: &mut Parts) -> Result<ReportedImage, Error> {
        let name = called(self.name, &self.path);
        Ok(ReportedImage {
            id: self.id,
            name,
            status: Status::from_number(self.status)?,
            reason: self.reason,
            content_type: self.content_type,
            outputs: parts.outputs.remove(&self.id).unwrap_or_default(),
            failed_tasks: parts.failed.remove(&self.id).unwrap_or_default(),
            people: parts.people.remove(&self.id).unwrap_or_default(),
        })
    }
}

impl OutputRow {
    fn into_reported(self) -> ReportedOutput {
        let pixels = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        ReportedOutput {
            role: self.role,
            uri: self.uri,
            content_type: self.content_type,
            width: pixels(self.width),
            height: pixels(self.height),
            bytes: u64::try_from(self.bytes).unwrap_or(0),
        }
    }
}
