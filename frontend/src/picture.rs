//! The pictures themselves: streamed as they lie in the storage, never decoded here.

use std::io;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::stream;
use safelight_database::ImageDetail;
use safelight_media::{ContentType, Library, MediaError};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::assets;
use crate::error_page::PageError;
use crate::server::App;

/// How much of a file is in memory at once, for each picture that is being sent.
const CHUNK: usize = 64 * 1024;

/// A picture is data: whatever a browser makes of it, it may run and load nothing.
const POLICY: &str = "default-src 'none'; sandbox";

/// Opens pictures, and bounds how many are sent at once.
#[derive(Clone)]
pub(crate) struct Pictures {
    library: Library,
    streams: Arc<Semaphore>,
    inline_limit: u64,
}

/// An open picture.
struct Opened {
    file: std::fs::File,
    kind: ContentType,
    bytes: u64,
    tag: HeaderValue,
    permit: OwnedSemaphorePermit,
}

// === impl Pictures ===

impl Pictures {
    pub(crate) fn new(library: Library, streams: u16, inline_limit: u64) -> Self {
        Self {
            library,
            streams: Arc::new(Semaphore::new(streams.into())),
            inline_limit,
        }
    }

    /// Whether a browser could show the picture, without sending it.
    pub(crate) async fn showable(&self, uri: &str) -> Result<(), PageError> {
        let opened = self.open(uri).await?;
        if shown_by_browsers(opened.kind) {
            return Ok(());
        }
        Err(PageError::Picture(MediaError::Unsupported(
            "browsers do not show it; download it instead".to_owned(),
        )))
    }

    async fn open(&self, uri: &str) -> Result<Opened, PageError> {
        let permit = Arc::clone(&self.streams)
            .try_acquire_owned()
            .map_err(|_| PageError::Overloaded)?;
        let (library, uri) = (self.library.clone(), uri.to_owned());
        let opening = tokio::task::spawn_blocking(move || {
            let (file, kind, bytes) = library.open_stream(&uri)?;
            let tag = file
                .metadata()
                .and_then(|found| found.modified())
                .map_err(MediaError::Unreadable)?;
            let age = tag.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
            let tag = HeaderValue::try_from(format!("\"{bytes:x}-{age:x}\""))
                .map_err(|error| MediaError::Unreadable(io::Error::other(error)))?;
            Ok::<_, MediaError>(Opened {
                file,
                kind,
                bytes,
                tag,
                permit,
            })
        });
        match opening.await {
            Ok(opened) => opened.map_err(PageError::Picture),
            Err(error) => {
                tracing::error!(%error, "opening a picture failed");
                Err(PageError::Internal)
            }
        }
    }
}

fn shown_by_browsers(kind: ContentType) -> bool {
    kind != ContentType::Tiff
}

/// `GET /images/{id}/picture`: the original.
pub(crate) async fn original(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let uri = app.path_of(&id).await?;
    let opened = app.pictures.open(&uri).await?;
    Ok(opened.answer(&headers))
}

/// `GET /images/{id}/outputs/{role}`: what was made of it.
pub(crate) async fn made(
    State(app): State<App>,
    Path((id, role)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let detail = app.detail(&id).await?;
    let uri = output(&detail, &role).ok_or(PageError::NotFound)?;
    let opened = app.pictures.open(uri).await?;
    Ok(opened.answer(&headers))
}

/// Where the output of this role lies.
fn output<'a>(detail: &'a ImageDetail, role: &str) -> Option<&'a str> {
    let output = detail.outputs.iter().find(|output| output.role == role);
    output.map(|output| output.uri.as_str())
}

/// `GET /images/{id}/preview`: a small picture that was made of it, or the original, where it is small enough to stand in
/// a list; a placeholder where it is not, or cannot be shown at all.
pub(crate) async fn preview(
    State(app): State<App>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, PageError> {
    let detail = app.detail(&id).await?;
    // A small picture that was made of it, also of what is none.
    let small = ["thumbnail-small", "frame"]
        .into_iter()
        .find_map(|role| output(&detail, role));
    let uri = small.unwrap_or(&detail.image.path);
    match app.pictures.open(uri).await {
        Ok(opened) if opened.bytes <= app.pictures.inline_limit && shown_by_browsers(opened.kind) => {
            Ok(opened.answer(&headers))
        }
        Ok(_) | Err(PageError::Picture(_)) => {
            let headers: [(HeaderName, &str); 2] = [
                (header::CONTENT_TYPE, assets::SVG),
                (header::CACHE_CONTROL, "private, max-age=60"),
            ];
            Ok((headers, assets::PLACEHOLDER).into_response())
        }
        Err(error) => Err(error),
    }
}

// === impl Opened ===

impl Opened {
    fn answer(self, asked: &HeaderMap) -> Response {
        let known = asked
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .any(|tags| names(tags, &self.tag));
        let disposition = if shown_by_browsers(self.kind) {
            "inline"
        } else {
            "attachment"
        };
        let headers: [(HeaderName, HeaderValue); 5] = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.kind.mime())),
            (header::CONTENT_DISPOSITION, HeaderValue::from_static(disposition)),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (
                header::CACHE_CONTROL,
                HeaderValue::from_static("private, max-age=60"),
            ),
            (header::ETAG, self.tag.clone()),
        ];
        if known {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        let length = [(header::CONTENT_LENGTH, HeaderValue::from(self.bytes))];
        (headers, length, self.into_body()).into_response()
    }

    /// Sends no more than the length that was announced; a file that was cut meanwhile breaks the answer off.
    fn into_body(self) -> Body {
        let start = (File::from_std(self.file), self.bytes, self.permit);
        Body::from_stream(stream::try_unfold(start, |(mut file, left, permit)| async move {
            if left == 0 {
                return Ok(None);
            }
            let chunk = read(&mut file, left).await?;
            let left = left - chunk.len() as u64;
            Ok::<_, io::Error>(Some((chunk, (file, left, permit))))
        }))
    }
}

async fn read(file: &mut File, left: u64) -> io::Result<Bytes> {
    let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
    let mut chunk = BytesMut::with_capacity(wanted);
    if file.take(wanted as u64).read_buf(&mut chunk).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(chunk.freeze())
}

/// Whether a list of entity tags names this one. Weak ones count: browsers may weaken what they got.
fn names(tags: &HeaderValue, tag: &HeaderValue) -> bool {
    let (Ok(tags), Ok(tag)) = (tags.to_str(), tag.to_str()) else {
        return false;
    };
    tags.split(',')
        .map(str::trim)
        .any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_tag_is_found_in_a_list_of_them() {
        let names = |tags| {
            names(
                &HeaderValue::from_static(tags),
                &HeaderValue::from_static("\"5-a\""),
            )
        };
        assert!(names("\"5-a\""));
        assert!(names("\"x\", W/\"5-a\""));
        assert!(names("*"));
        assert!(!names("\"5-b\""));
        assert!(!names("5-a"));
    }
}
