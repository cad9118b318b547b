//! Pages of images.

use std::collections::HashMap;

use sqlx::QueryBuilder;

use crate::session::reading;
use crate::{Error, ImageRecord, Images, Status};

/// The longest page.
const LONGEST_PAGE: u32 = 1000;

/// Which images, and where the page begins. Pages go by key: asked for the page after the last id they
/// have, readers miss nothing and see nothing twice while images come in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// The page begins after this id, in the direction of the list.
    pub after: Option<i64>,
    /// How many, at most 1,000.
    pub limit: u32,
    /// Only those with this status.
    pub status: Option<Status>,
    /// Only those of this project.
    pub project: Option<String>,
    /// Only those in which this person is, by name.
    pub person: Option<String>,
    /// From the newest to the oldest, else from the oldest to the newest.
    pub newest_first: bool,
}

/// An image as the database has it.
#[derive(sqlx::FromRow)]
pub(crate) struct ImageRow {
    id: i64,
    path: String,
    status: i64,
    project: Option<String>,
    reason: Option<String>,
    created_at: i64,
    updated_at: i64,
    waiting_for: Option<String>,
    duration_ms: Option<i64>,
    distance: Option<f64>,
    pub(crate) width: Option<i64>,
    pub(crate) height: Option<i64>,
    name: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) bytes: Option<i64>,
    pub(crate) batch_id: Option<i64>,
}

/// The columns of [`ImageRow`] and where they come from.
macro_rules! columns {
    () => {
        "images.id, images.path, images.status, images.project, images.reason, images.created_at, \
         images.updated_at, (SELECT MIN(tasks.waiting_for) FROM tasks WHERE tasks.image_id = images.id \
         AND tasks.state = 0) AS waiting_for, images.duration_ms, images.distance, images.width, \
         images.height, images.name, images.content_type, images.bytes, images.batch_id FROM images"
    };
}

/// Who is in the images with these ids, as pairs of image and name, each pair once.
macro_rules! people_of {
    ($connection:ident, $ids:expr) => {{
        let ids = $crate::dialect::json_ids($ids);
        let pairs: Vec<(i64, String)> = sqlx::query_as(concat!(
            "SELECT faces.image_id AS image_id, person.name AS name FROM ",
            chosen!(),
            then_join!(),
            "faces ON faces.image_id = chosen_id",
            then_join!(),
            "person ON person.id = faces.person_id UNION SELECT images.id, person.name FROM ",
            chosen!(),
            then_join!(),
            "images ON images.id = chosen_id",
            then_join!(),
            "person ON person.id = images.person_id ORDER BY image_id, name"
        ))
        .bind(&ids)
        .bind(&ids)
        .fetch_all(&mut *$connection)
        .await?;
        pairs
    }};
}

pub(crate) use {columns, people_of};

// === impl Images ===

impl Images {
    /// A page of images, empty after the last one.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn list(&self, query: &ListQuery) -> Result<Vec<ImageRecord>, Error> {
        let (rows, people) = reading!(self.database, "list_images", |connection| {
            let mut select = QueryBuilder::new(concat!("SELECT ", columns!(), " WHERE 1 = 1"));
            if let Some(after) = query.after {
                select.push(if query.newest_first {
                    " AND images.id < "
                } else {
                    " AND images.id > "
                });
                select.push_bind(after);
            }
            if let Some(status) = query.status {
                select.push(" AND images.status = ").push_bind(status.number());
            }
            if let Some(project) = &query.project {
                select.push(" AND images.project = ").push_bind(project);
            }
            if let Some(person) = &query.person {
                select.push(
                    " AND images.id IN (SELECT faces.image_id FROM faces JOIN person \
                     ON person.id = faces.person_id WHERE person.name = ",
                );
                select.push_bind(person).push(")");
            }
            select.push(if query.newest_first {
                " ORDER BY images.id DESC"
            } else {
                " ORDER BY images.id"
            });
            select
                .push(" LIMIT ")
                .push_bind(i64::from(query.limit.min(LONGEST_PAGE)));
            let rows: Vec<ImageRow> = select.build_query_as().fetch_all(&mut *connection).await?;

            let people = if rows.is_empty() {
                Vec::new()
            } else {
                people_of!(connection, rows.iter().map(|row| row.id))
            };
            (rows, people)
        })?;

        let mut names: HashMap<i64, Vec<String>> = HashMap::new();
        for (image_id, name) in people {
            names.entry(image_id).or_default().push(name);
        }
        rows.into_iter()
            .map(|row| {
                let names = names.remove(&row.id).unwrap_or_default();
                row.into_record(names)
            })
            .collect()
    }
}

// === impl ImageRow ===

impl ImageRow {
    pub(crate) fn into_record(self, people: Vec<String>) -> Result<ImageRecord, Error> {
        Ok(ImageRecord {
            id: self.id,
            path: self.path,
            name: self.name,
            status: Status::from_number(self.status)?,
            project: self.project,
            reason: self.reason,
            people,
            created_at_ms: self.created_at,
            updated_at_ms: self.updated_at,
            waiting_for: self.waiting_for,
            duration_ms: self.duration_ms,
            distance: self.distance.map(|distance| distance as f32),
        })
    }
}
