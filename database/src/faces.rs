//! What was found in an image.

use crate::Error;
use crate::columns::{unpack_floats, unpack_points};

/// What a model found in an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognition {
    /// The upright picture's width in pixels.
    pub width: u32,
    /// The upright picture's height in pixels.
    pub height: u32,
    /// The model that described the faces.
    pub model: String,
    /// Its version.
    pub model_version: String,
    /// All faces, known or not.
    pub faces: Vec<NewFace>,
}

/// A face that was found, in pixels of the upright picture.
#[derive(Debug, Clone, PartialEq)]
pub struct NewFace {
    /// The box's left edge; may lie outside the picture.
    pub left: i32,
    /// The box's top edge; may lie outside the picture.
    pub top: i32,
    /// The box's width.
    pub width: u32,
    /// The box's height.
    pub height: u32,
    /// Points of the face, in the model's order.
    pub landmarks: Vec<(i32, i32)>,
    /// The face as numbers; two faces of one person are near each other.
    pub descriptor: Vec<f32>,
    /// The nearest known person, where one is near enough.
    pub person: Option<NewMatch>,
}

/// A known person that a face was found to be.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMatch {
    /// The person's name, 1 to 255 bytes.
    pub person: String,
    /// The file name of the nearest sample.
    pub sample: String,
    /// How far from it; smaller is more alike. `None` where the recognizer does not tell.
    pub distance: Option<f32>,
}

/// A face as it was recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct FaceRecord {
    /// The box's left edge, in pixels of the upright picture.
    pub left: i32,
    /// The box's top edge.
    pub top: i32,
    /// The box's width.
    pub width: u32,
    /// The box's height.
    pub height: u32,
    /// Points of the face.
    pub landmarks: Vec<(i32, i32)>,
    /// The face as numbers.
    pub descriptor: Vec<f32>,
    /// The person's name.
    pub person: Option<String>,
    /// The file name of the nearest sample.
    pub sample: Option<String>,
    /// How far from it.
    pub distance: Option<f32>,
}

/// A face as the database has it.
#[derive(sqlx::FromRow)]
pub(crate) struct FaceRow {
    box_left: i64,
    box_top: i64,
    box_width: i64,
    box_height: i64,
    landmarks: Vec<u8>,
    descriptor: Vec<u8>,
    name: Option<String>,
    sample: Option<String>,
    distance: Option<f64>,
}

// === impl Recognition ===

impl Recognition {
    /// The people in it, each once, in an order that all transactions share: those that record new people
    /// at the same time then wait for each other and do not block each other.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .faces
            .iter()
            .filter_map(|face| face.person.as_ref())
            .map(|found| &*found.person)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The surest match.
    pub(crate) fn best(&self) -> Option<&NewMatch> {
        let matches = self.faces.iter().filter_map(|face| face.person.as_ref());
        let distance = |found: &&NewMatch| found.distance.unwrap_or(f32::INFINITY);
        matches.min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }
}

// === impl FaceRow ===

impl FaceRow {
    pub(crate) fn into_record(self) -> Result<FaceRecord, Error> {
        let number = |_| Error::Other("a face's box is out of range".into());
        Ok(FaceRecord {
            left: i32::try_from(self.box_left).map_err(number)?,
            top: i32::try_from(self.box_top).map_err(number)?,
            width: u32::try_from(self.box_width).map_err(number)?,
            height: u32::try_from(self.box_height).map_err(number)?,
            landmarks: unpack_points(&self.landmarks)?,
            descriptor: unpack_floats(&self.descriptor)?,
            person: self.name,
            sample: self.sample,
            distance: self.distance.map(|distance| distance as f32),
        })
    }
}

/// Replaces an image's faces, within a transaction. Gives the surest match as person's id and distance.
macro_rules! record_faces {
    ($connection:ident, $image_id:expr, $recognition:expr) => {{
        let mut person_ids = std::collections::HashMap::new();
        for name in $recognition.names() {
            let id = $crate::people::person_by_name!($connection, name);
            person_ids.insert(name, id);
        }

        sqlx::query("DELETE FROM faces WHERE image_id = ?")
            .bind($image_id)
            .execute(&mut *$connection)
            .await?;
        for face in &$recognition.faces {
            let found = face.person.as_ref();
            sqlx::query(
                "INSERT INTO faces (image_id, box_left, box_top, box_width, box_height, landmarks, \
                 descriptor, person_id, sample, distance) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind($image_id)
            .bind(i64::from(face.left))
            .bind(i64::from(face.top))
            .bind(i64::from(face.width))
            .bind(i64::from(face.height))
            .bind($crate::columns::pack_points(&face.landmarks))
            .bind($crate::columns::pack_floats(&face.descriptor))
            .bind(found.and_then(|found| person_ids.get(&*found.person).copied()))
            .bind(found.map(|found| $crate::columns::cut(&found.sample, $crate::columns::LONGEST_NAME)))
            .bind(found.and_then(|found| found.distance).map(f64::from))
            .execute(&mut *$connection)
            .await?;
        }
        $recognition
            .best()
            .and_then(|best| Some((person_ids.get(&*best.person).copied()?, best.distance)))
    }};
}

pub(crate) use record_faces;
