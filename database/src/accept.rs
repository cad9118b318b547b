//! Accepting images: row, task and message in one transaction.

use std::collections::HashSet;

use serde::Serialize;

use crate::columns::LONGEST_NAME;
use crate::dialect::json_ids;
use crate::session::transaction;
use crate::{Error, Images, Status, TOPIC_IMAGES, TaskKind};

/// The longest path, in bytes.
const LONGEST_PATH: usize = 4096;
/// How many images one statement is about: with the longest paths a quarter of MariaDB's default packet.
const CHUNK: usize = 1000;

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
        let chunks = images.chunks(CHUNK).map(to_json).collect::<Result<Vec<_>, _>>()?;
        // By this number the call knows its own rows from those that were there.
        let call: i64 = rand::random();

        let rows = transaction!(self.database, "accept", |connection| {
            let mut rows: Vec<(i64, i64, bool)> = Vec::with_capacity(images.len());
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
                rows.extend(
                    found
                        .into_iter()
                        .map(|(id, status, writer)| (id, status, writer == Some(call))),
                );
            }
            if rows.len() != images.len() {
                // Somebody deleted one of them in between.
                return Err(Error::unavailable(
                    "an image was deleted while it was accepted again",
                ));
            }

            let mut new = HashSet::new();
            let written = rows
                .iter()
                .filter(|(id, _, own)| *own && new.insert(*id))
                .map(|(id, _, _)| *id);
            let written = json_ids(written);
            if !new.is_empty() {
                sqlx::query(concat!(
                    "INSERT INTO tasks (image_id, kind) SELECT chosen_id, ? FROM ",
                    chosen!()
                ))
                .bind(TaskKind::Identify.as_str())
                .bind(&written)
                .execute(&mut *connection)
                .await?;
                sqlx::query(concat!(
                    "INSERT INTO outbox (topic, subject) SELECT ?, chosen_id FROM ",
                    chosen!()
                ))
                .bind(TOPIC_IMAGES)
                .bind(&written)
                .execute(&mut *connection)
                .await?;
            }
            rows
        })?;

        let mut answered = HashSet::new();
        images
            .iter()
            .zip(rows)
            .map(|(image, (id, status, own))| {
                Ok(Accepted {
                    id,
                    path: image.path.clone(),
                    status: Status::from_number(status)?,
                    duplicate: !own || !answered.insert(id),
                })
            })
            .collect()
    }
}

fn check(image: &NewImage) -> Result<(), Error> {
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

fn to_json(images: &[NewImage]) -> Result<String, Error> {
    serde_json::to_string(images).map_err(|error| Error::Other(error.into()))
}
