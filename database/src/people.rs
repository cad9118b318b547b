//! The known people.

use std::collections::BTreeMap;

use crate::columns::{LONGEST_NAME, pack_floats, unpack_floats};
use crate::session::{reading, transaction};
use crate::{Database, Error};

/// The known people and the pictures they are known by. Cheap to clone.
#[derive(Debug, Clone)]
pub struct People {
    pub(crate) database: Database,
}

/// A person with samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// The person's id.
    pub id: i64,
    /// The name, which is unique.
    pub name: String,
    /// What the person is known by; never empty.
    pub samples: Vec<Sample>,
}

/// A picture that a person is known by.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Its file name.
    pub image_name: String,
    /// What identifies the picture whatever its name.
    pub content_hash: [u8; 32],
    /// The face in it as numbers, where it was described already.
    pub descriptor: Option<Vec<f32>>,
    /// The model that described it.
    pub model: String,
    /// The model's version.
    pub model_version: String,
    /// Where the picture lies.
    pub uri: Option<String>,
}

/// A sample as it was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrolledSample {
    /// The person's id.
    pub person_id: i64,
    /// The sample's id.
    pub sample_id: i64,
    /// Whether this picture was a sample of this person before.
    pub duplicate: bool,
}

#[derive(sqlx::FromRow)]
struct SampleRow {
    person_id: i64,
    name: String,
    image_name: String,
    content_hash: Vec<u8>,
    descriptor: Option<Vec<u8>>,
    model: String,
    model_version: String,
    uri: Option<String>,
}

/// The id of a person, recorded where nobody knew the name, within a transaction.
macro_rules! person_by_name {
    ($connection:ident, $name:expr) => {{
        const FIND: &str = "SELECT id FROM person WHERE name = ?";
        $crate::people::check_name($name)?;
        let known: Option<i64> = sqlx::query_scalar(FIND)
            .bind($name)
            .fetch_optional(&mut *$connection)
            .await?;
        match known {
            Some(id) => id,
            None => {
                sqlx::query(concat!(insert_ignore!(), "person (name) VALUES (?)"))
                    .bind($name)
                    .execute(&mut *$connection)
                    .await?;
                sqlx::query_scalar::<_, i64>(FIND)
                    .bind($name)
                    .fetch_one(&mut *$connection)
                    .await?
            }
        }
    }};
}

pub(crate) use person_by_name;

macro_rules! next_revision {
    ($connection:ident) => {
        sqlx::query("UPDATE revisions SET revision = revision + 1 WHERE subject = 'people'")
            .execute(&mut *$connection)
            .await?
    };
}

// === impl People ===

impl People {
    /// Makes a picture a sample of the person called `name`, who is recorded if need be. The same picture
    /// of the same person again is the sample that is there; what is given about it replaces what was
    /// known, a missing descriptor excepted.
    ///
    /// Can be repeated after any error.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that is empty, longer than 255 bytes, or has blanks around it, and for
    /// other text that is too long; [`Error::Unavailable`].
    #[allow(clippy::too_many_arguments)]
    pub async fn enroll(
        &self,
        name: &str,
        image_name: &str,
        content_hash: [u8; 32],
        descriptor: Option<&[f32]>,
        model: &str,
        model_version: &str,
        uri: Option<&str>,
    ) -> Result<EnrolledSample, Error> {
        check_name(name)?;
        for (what, text) in [
            ("file name", image_name),
            ("model's name", model),
            ("model's version", model_version),
        ] {
            if text.len() > LONGEST_NAME {
                return Err(Error::Invalid(format!(
                    "the {what} is longer than {LONGEST_NAME} bytes"
                )));
            }
        }
        if uri.is_some_and(|uri| uri.len() > 4096) {
            return Err(Error::Invalid(
                "the picture's URI is longer than 4096 bytes".to_owned(),
            ));
        }
        let descriptor = descriptor.map(pack_floats);

        transaction!(self.database, "enroll", |connection| {
            // First, so that all enrollments wait here and not for each other's rows.
            next_revision!(connection);
            let person_id = person_by_name!(connection, name);
            let find = concat!(
                "SELECT id FROM person_images WHERE person_id = ? AND content_hash = ?",
                for_update!()
            );
            let known: Option<i64> = sqlx::query_scalar(find)
                .bind(person_id)
                .bind(&content_hash[..])
                .fetch_optional(&mut *connection)
                .await?;
            match known {
                Some(sample_id) => {
                    sqlx::query(
                        "UPDATE person_images SET image_name = ?, descriptor = COALESCE(?, descriptor), \
                         model = ?, model_version = ?, uri = ? WHERE id = ?",
                    )
                    .bind(image_name)
                    .bind(&descriptor)
                    .bind(model)
                    .bind(model_version)
                    .bind(uri)
                    .bind(sample_id)
                    .execute(&mut *connection)
                    .await?;
                    EnrolledSample {
                        person_id,
                        sample_id,
                        duplicate: true,
                    }
                }
                None => {
                    sqlx::query(
                        "INSERT INTO person_images (person_id, content_hash, image_name, descriptor, model, \
                         model_version, uri) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    )
                    .bind(person_id)
                    .bind(&content_hash[..])
                    .bind(image_name)
                    .bind(&descriptor)
                    .bind(model)
                    .bind(model_version)
                    .bind(uri)
                    .execute(&mut *connection)
                    .await?;
                    let sample_id = sqlx::query_scalar(find)
                        .bind(person_id)
                        .bind(&content_hash[..])
                        .fetch_one(&mut *connection)
                        .await?;
                    EnrolledSample {
                        person_id,
                        sample_id,
                        duplicate: false,
                    }
                }
            }
        })
    }

    /// All people with samples, by name. People who are only known from pictures that were recognized, and
    /// rows of other programs without a content hash, are left out.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn list(&self) -> Result<Vec<Person>, Error> {
        let rows: Vec<SampleRow> = reading!(self.database, "list_people", |connection| {
            sqlx::query_as(
                "SELECT person.id AS person_id, person.name, person_images.image_name, \
                 person_images.content_hash, person_images.descriptor, person_images.model, \
                 person_images.model_version, person_images.uri \
                 FROM person JOIN person_images ON person_images.person_id = person.id \
                 WHERE person_images.content_hash IS NOT NULL ORDER BY person_images.id",
            )
            .fetch_all(&mut *connection)
            .await?
        })?;

        let mut people = BTreeMap::new();
        for row in rows {
            let content_hash: [u8; 32] = row
                .content_hash
                .try_into()
                .map_err(|_| Error::Other("a sample's content hash is not 32 bytes long".into()))?;
            let sample = Sample {
                image_name: row.image_name,
                content_hash,
                descriptor: row.descriptor.as_deref().map(unpack_floats).transpose()?,
                model: row.model,
                model_version: row.model_version,
                uri: row.uri,
            };
            let person = people.entry(row.name.clone()).or_insert_with(|| Person {
                id: row.person_id,
                name: row.name,
                samples: Vec::new(),
            });
            person.samples.push(sample);
        }
        Ok(people.into_values().collect())
    }

    /// The name of the person whose sample has this file name; the one enrolled last where several have.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn of_sample(&self, image_name: &str) -> Result<Option<String>, Error> {
        reading!(self.database, "person_of_sample", |connection| {
            sqlx::query_scalar(
                "SELECT person.name FROM person_images JOIN person ON person.id = person_images.person_id \
                 WHERE person_images.image_name = ? ORDER BY person_images.id DESC LIMIT 1",
            )
            .bind(image_name)
            .fetch_optional(&mut *connection)
            .await?
        })
    }

    /// Forgets all samples of a person and gives their number. The name stays, for the pictures in which
    /// the person was recognized.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the person has no samples; [`Error::Unavailable`].
    pub async fn forget(&self, name: &str) -> Result<u32, Error> {
        transaction!(self.database, "forget", |connection| {
            next_revision!(connection);
            let forgotten = sqlx::query(
                "DELETE FROM person_images WHERE person_id = (SELECT id FROM person WHERE name = ?)",
            )
            .bind(name)
            .execute(&mut *connection)
            .await?
            .rows_affected();
            if forgotten == 0 {
                return Err(Error::NotFound);
            }
            u32::try_from(forgotten).unwrap_or(u32::MAX)
        })
    }

    /// A number that is another one after every change of the samples: cheap to ask for again and again.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn version(&self) -> Result<i64, Error> {
        reading!(self.database, "people_version", |connection| {
            sqlx::query_scalar("SELECT revision FROM revisions WHERE subject = 'people'")
                .fetch_one(&mut *connection)
                .await?
        })
    }
}

/// Blanks at the end would be the same name to MySQL and another one to SQLite.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(Error::Invalid(format!(
            "a person's name has 1 to {LONGEST_NAME} bytes"
        )));
    }
    if name.trim() != name {
        return Err(Error::Invalid(
            "a person's name starts or ends with a blank".to_owned(),
        ));
    }
    Ok(())
}
