//! Accepting images: row, task and message in one transaction.

use std::collections::HashSet;

use serde::Serialize;

use crate::columns::LONGEST_NAME;
use crate::dialect::json_ids;
use crate::session::{NewId as _, transaction};
use crate::turn::{Given, json_turns, present_turn};
use crate::{Error, Images, Status, TOPIC_IMAGES, TaskKind};

/// The longest path, in bytes.
const LONGEST_PATH: usize = 4096;
/// How many images one statement is about: with the longest paths a quarter of MariaDB's default packet.
pub(crate) const CHUNK: usize = 1000;

/// An image to accept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewImage {
    /// Its media URI, 1 to 4,096 bytes; what makes it the same image again.
    pub path: String,
    /// The project it belongs to, at most 255 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
}

/// An image that was accepted, now or earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: i64,
    /// Its path, as it was given.
    pub path: String,
    /// Its status now.
    pub status: Status,
    /// Whether it was there before, so that this call wrote nothing about it.
    pub duplicate: bool,
}

/// An image's row as the call found or wrote it.
pub(crate) struct Recorded {
    pub(crate) id: i64,
    pub(crate) status: i64,
    pub(crate) own: bool,
}

// === impl Images ===

impl Images {
    /// Records images, with a task to identify who is in them and a message to the topic
    /// [`TOPIC_IMAGES`], all of them in one transaction. A path that is there already, or stands twice in
    /// `images`, gives the record that exists and writes nothing. The answers are in the order of `images`.
    ///
    /// Can be repeated after any error: what an earlier try wrote is then a duplicate.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty or too long path or project, before anything is written;
    /// [`Error::Unavailable`].
    pub async fn accept(&self, images: &[NewImage]) -> Result<Vec<Accepted>, Error> {
        for image in images {
            check(image)?;
        }
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let rows = match images {
            [image] => vec![self.record_one(image).await?],
            _ => self.record_many(images).await?,
        };
        answers(images, rows)
    }

    /// Plain rows: half the work of the general way, for those who post one image at a time.
    async fn record_one(&self, image: &NewImage) -> Result<Recorded, Error> {
        let given_json = to_json(std::slice::from_ref(image))?;
        let turns = &self.database.inner.plain_turns;
        let (recorded, given) = transaction!(self.database, "accept", |connection| {
            let mut given = Given::default();
            let inserted = sqlx::query(concat!(insert_ignore!(), "images (path, project) VALUES (?, ?)"))
                .bind(&image.path)
                .bind(&image.project)
                .execute(&mut *connection)
                .await?;
            if inserted.rows_affected() == 0 {
                let found: Option<(i64, i64)> = sqlx::query_as(concat!(
                    "SELECT images.id, images.status FROM ",
                    given!(),
                    then_join!(),
                    "images ON ",
                    same_path!()
                ))
                .bind(&given_json)
                .fetch_optional(&mut *connection)
                .await?;
                let (id, status) = found.ok_or_else(deleted_meanwhile)?;
                let recorded = Recorded {
                    id,
                    status,
                    own: false,
                };
                (recorded, given)
            } else {
                let id = inserted.new_id();
                let present = present_turn!(connection, TaskKind::Identify);
                sqlx::query("INSERT INTO tasks (image_id, kind, turn) VALUES (?, ?, ?)")
                    .bind(id)
                    .bind(TaskKind::Identify.as_str())
                    .bind(turns.give(&mut given, present, image.project.as_deref()))
                    .execute(&mut *connection)
                    .await?;
                sqlx::query("INSERT INTO outbox (topic, subject) VALUES (?, ?)")
                    .bind(TOPIC_IMAGES)
                    .bind(id)
                    .execute(&mut *connection)
                    .await?;
                let recorded = Recorded {
                    id,
                    status: Status::Pending.number(),
                    own: true,
                };
                (recorded, given)
            }
        })?;
        turns.remember(given);
        Ok(recorded)
    }

    async fn record_many(&self, images: &[NewImage]) -> Result<Vec<Recorded>, Error> {
        let chunks = images.chunks(CHUNK).map(to_json).collect::<Result<Vec<_>, _>>()?;
        // By this number the call knows its own rows from those that were there.
        let call: i64 = rand::random();
        let turns = &self.database.inner.plain_turns;

        let (rows, given) = transaction!(self.database, "accept", |connection| {
            let mut given = Given::default();
            let mut rows: Vec<Recorded> = Vec::with_capacity(images.len());
            for given_json in &chunks {
                sqlx::query(concat!(
                    insert_ignore!(),
                    "images (path, project, accepted_in) SELECT given.path, given.project, ? FROM ",
                    given!(),
                    " ORDER BY given.position"
                ))
                .bind(call)
                .bind(given_json)
                .execute(&mut *connection)
                .await?;

                let found: Vec<(i64, i64, Option<i64>)> = sqlx::query_as(concat!(
                    "SELECT images.id, images.status, images.accepted_in FROM ",
                    given!(),
                    then_join!(),
                    "images ON ",
                    same_path!(),
                    " ORDER BY given.position"
                ))
                .bind(given_json)
                .fetch_all(&mut *connection)
                .await?;
                rows.extend(found.into_iter().map(|(id, status, writer)| Recorded {
                    id,
                    status,
                    own: writer == Some(call),
                }));
            }
            if rows.len() != images.len() {
                return Err(deleted_meanwhile());
            }

            let mut new = HashSet::new();
            let written: Vec<(i64, Option<&str>)> = rows
                .iter()
                .zip(images)
                .filter(|(row, _)| row.own && new.insert(row.id))
                .map(|(row, image)| (row.id, image.project.as_deref()))
                .collect();
            if !written.is_empty() {
                let present = present_turn!(connection, TaskKind::Identify);
                let in_turn: Vec<(i64, i64)> = written
                    .iter()
                    .map(|(id, project)| (*id, turns.give(&mut given, present, *project)))
                    .collect();
                sqlx::query(concat!(
                    "INSERT INTO tasks (image_id, kind, turn) SELECT chosen_id, ?, chosen_turn FROM ",
                    chosen_turns!()
                ))
                .bind(TaskKind::Identify.as_str())
                .bind(json_turns(&in_turn))
                .execute(&mut *connection)
                .await?;
                sqlx::query(concat!(
                    "INSERT INTO outbox (topic, subject) SELECT ?, chosen_id FROM ",
                    chosen!()
                ))
                .bind(TOPIC_IMAGES)
                .bind(json_ids(written.iter().map(|(id, _)| *id)))
                .execute(&mut *connection)
                .await?;
            }
            (rows, given)
        })?;
        turns.remember(given);
        Ok(rows)
    }
}

/// What is answered about each image, in order.
pub(crate) fn answers(images: &[NewImage], rows: Vec<Recorded>) -> Result<Vec<Accepted>, Error> {
    let mut answered = HashSet::new();
    images
        .iter()
        .zip(rows)
        .map(|(image, row)| {
            Ok(Accepted {
                id: row.id,
                path: image.path.clone(),
                status: Status::from_number(row.status)?,
                duplicate: !row.own || !answered.insert(row.id),
            })
        })
        .collect()
}

/// An image was there, and was deleted while it was accepted again. The next try records it anew.
pub(crate) fn deleted_meanwhile() -> Error {
    Error::unavailable("an image was deleted while it was accepted again")
}

pub(crate) fn check(image: &NewImage) -> Result<(), Error> {
    if image.path.is_empty() {
        return Err(Error::Invalid("an image's path is empty".to_owned()));
    }
    if image.path.len() > LONGEST_PATH {
        return Err(Error::Invalid(format!(
            "an image's path is longer than {LONGEST_PATH} bytes"
        )));
    }
    if image
        .project
        .as_ref()
        .is_some_and(|project| project.len() > LONGEST_NAME)
    {
        return Err(Error::Invalid(format!(
            "a project's name is longer than {LONGEST_NAME} bytes"
        )));
    }
    Ok(())
}

pub(crate) fn to_json(images: &[NewImage]) -> Result<String, Error> {
    serde_json::to_string(images).map_err(|error| Error::Other(error.into()))
}
