//! What was made of an image.

use crate::{Error, TaskKind};

/// What an image turned out to be, and what is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Its media type by content, such as `image/jpeg`.
    pub content_type: String,
    /// The size of the file.
    pub bytes: u64,
    /// The upright picture's width in pixels.
    pub width: u32,
    /// The upright picture's height in pixels.
    pub height: u32,
    /// The work it needs, in the order of the records.
    pub tasks: Vec<TaskKind>,
}

/// Something that was made of an image and lies in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOutput {
    /// What it is, once an image, such as `thumbnail-small`; at most 32 bytes.
    pub role: String,
    /// The media URI that it can be opened by.
    pub uri: String,
    /// Its media type.
    pub content_type: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Its size.
    pub bytes: u64,
    /// The BLAKE3 hash of its bytes.
    pub blake3: [u8; 32],
}

/// A [`NewOutput`] that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRecord {
    /// What it is, such as `thumbnail-small`.
    pub role: String,
    /// The media URI that it can be opened by.
    pub uri: String,
    /// Its media type.
    pub content_type: String,
    /// In pixels.
    pub width: Option<u32>,
    /// In pixels.
    pub height: Option<u32>,
    /// Its size.
    pub bytes: u64,
    /// The BLAKE3 hash of its bytes.
    pub blake3: [u8; 32],
}

#[derive(sqlx::FromRow)]
pub(crate) struct OutputRow {
    role: String,
    uri: String,
    content_type: String,
    width: Option<i64>,
    height: Option<i64>,
    bytes: i64,
    content_hash: Vec<u8>,
}

// === impl OutputRow ===

impl OutputRow {
    pub(crate) fn into_record(self) -> Result<OutputRecord, Error> {
        let pixels = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        let hash = |_| Error::Other("the hash of an output has not 32 bytes".into());
        Ok(OutputRecord {
            width: pixels(self.width),
            height: pixels(self.height),
            bytes: u64::try_from(self.bytes).unwrap_or(0),
            blake3: self.content_hash.try_into().map_err(hash)?,
            role: self.role,
            uri: self.uri,
            content_type: self.content_type,
        })
    }
}

/// Records outputs of the claim's image, its row locked. One that is recorded already stays: outputs are put into the store
/// once, so it is the same.
macro_rules! record_outputs {
    ($connection:ident, $claim:expr, $outputs:expr) => {{
        for output in $outputs {
            sqlx::query(concat!(
                insert_ignore!(),
                "outputs (image_id, task_id, role, uri, content_type, width, height, bytes, content_hash) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
            ))
            .bind($claim.image_id)
            .bind($claim.task_id)
            .bind($crate::columns::cut(&output.role, 32))
            .bind(&output.uri)
            .bind($crate::columns::cut(
                &output.content_type,
                $crate::columns::LONGEST_CONTENT_TYPE,
            ))
            .bind(i64::from(output.width))
            .bind(i64::from(output.height))
            .bind(i64::try_from(output.bytes).unwrap_or(i64::MAX))
            .bind(&output.blake3[..])
            .execute(&mut *$connection)
            .await?;
        }
    }};
}

pub(crate) use record_outputs;
