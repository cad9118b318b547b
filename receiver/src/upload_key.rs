//! The header `Idempotency-Key`: what a sender calls an upload, so that sending it again does not record it again.

use std::fmt;
use std::time::Duration;

use axum::http::HeaderMap;
use safelight_database::Uploads;
use safelight_service::Problem;
use safelight_store::Key;
use tokio_util::task::AbortOnDropHandle;

use crate::problems;

/// draft-ietf-httpapi-idempotency-key-header-07. Its quotes are taken as a part of the key.
const HEADER: &str = "idempotency-key";
/// What the database keeps of it.
const LONGEST: usize = 255;
/// So long a key is held by an upload of which nothing more is heard, since its receiver died.
pub(crate) const HELD_FOR: Duration = Duration::from_secs(15);

/// A key of 1 to 255 visible characters of ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UploadKey(String);

/// Goes on holding a key while an upload is under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Holding {
    _task: AbortOnDropHandle<()>,
}

// === impl UploadKey ===

impl UploadKey {
    /// The key that the headers give.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let mut given = headers.get_all(HEADER).iter();
        let Some(value) = given.next() else {
            return Ok(None);
        };
        let bytes = value.as_bytes();
        let wrong = given.next().is_some()
            || bytes.is_empty()
            || bytes.len() > LONGEST
            || !bytes.iter().all(u8::is_ascii_graphic);
        match value.to_str() {
            Ok(key) if !wrong => Ok(Some(Self(key.to_owned()))),
            _ => Err(problems::upload_key_wrong(LONGEST)),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UploadKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

// === impl Holding ===

impl Holding {
    /// Holds `upload_key` for the upload of `key`. While the database is away the key may be lost to another upload; of
    /// the two the one that is recorded first counts.
    pub(crate) fn start(uploads: Uploads, upload_key: &UploadKey, key: &Key) -> Self {
        let (upload_key, key) = (upload_key.clone(), key.clone());
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(HELD_FOR / 3).await;
                if let Err(error) = uploads.hold(upload_key.as_str(), key.as_str(), HELD_FOR).await {
                    tracing::debug!(%error, "the key of an upload was not held");
                }
            }
        });
        Self {
            _task: AbortOnDropHandle::new(task),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(values: &[&[u8]]) -> Result<Option<UploadKey>, Problem> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value).unwrap());
        }
        UploadKey::of(&headers)
    }

    #[test]
    fn a_key_is_one_word_of_visible_ascii() {
        assert_eq!(of(&[]).unwrap(), None);
        for good in ["a", "\"8e03978e-40d5\"", &"x".repeat(255)] {
            assert_eq!(of(&[good.as_bytes()]).unwrap().unwrap().as_str(), good);
        }
        for wrong in [&b""[..], b"a b", b"a\tb", "\u{e4}".as_bytes(), &[b'x'; 256]] {
            assert_eq!(
                of(&[wrong]).unwrap_err().kind,
                "urn:safelight:problem:idempotency-key-wrong"
            );
        }
        of(&[b"a", b"b"]).unwrap_err();
    }
}
