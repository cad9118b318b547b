//! `GET /images/{id}/outputs/{role}`: what was made of an image, as it lies in the store.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use safelight_database::{Images, OutputRecord};
use safelight_media::{Library, MediaError};
use safelight_service::Problem;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::io::ReaderStream;

use crate::problems;

/// How many are sent at once; one more is turned away.
const AT_ONCE: usize = 256;

/// An output is data: whatever a browser makes of it, it may run and load nothing.
const POLICY: &str = "default-src 'none'; sandbox";

/// Hands outputs out. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outputs {
    images: Images,
    /// Of the store alone: a record leads nowhere else.
    store: Option<Library>,
    streams: Arc<Semaphore>,
}

// === impl Outputs ===

impl Outputs {
    pub(crate) fn new(images: Images, store: Option<Library>) -> Self {
        Self {
            images,
            store,
            streams: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    async fn open(&self, output: &OutputRecord) -> Result<(File, u64), Problem> {
        let store = self.store.clone().ok_or_else(problems::store_not_set)?;
        let uri = output.uri.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let medium = store.open(&uri)?;
            let bytes = medium.size();
            Ok((medium.into_file()?, bytes))
        })
        .await;
        match opened {
            Ok(Ok(opened)) => Ok(opened),
            Ok(Err(MediaError::Missing)) => Err(problems::output_unknown(&output.role)),
            Ok(Err(error)) => {
                tracing::warn!(uri = output.uri, %error, "an output cannot be opened");
                Err(problems::output_unreadable())
            }
            Err(error) => {
                tracing::error!(%error, "opening an output failed");
                Err(problems::output_unreadable())
            }
        }
    }
}

pub(crate) async fn one(
    State(outputs): State<Outputs>,
    Path((id, role)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let permit = Arc::clone(&outputs.streams)
        .try_acquire_owned()
        .map_err(|_| problems::overloaded())?;
    let Some(number) = id.parse().ok().filter(|number| *number > 0) else {
        return Err(problems::image_unknown(&id));
    };
    let detail = outputs.images.get(number).await;
    let detail = detail.map_err(|error| problems::database_failed(&error))?;
    let detail = detail.ok_or_else(|| problems::image_unknown(&id))?;
    let output = detail.outputs.into_iter().find(|output| output.role == role);
    let output = output.ok_or_else(|| problems::output_unknown(&role))?;
    let (file, bytes) = outputs.open(&output).await?;
    Ok(answer(&output, file, bytes, permit))
}

fn answer(output: &OutputRecord, file: File, bytes: u64, permit: OwnedSemaphorePermit) -> Response {
    let content_type = HeaderValue::try_from(output.content_type.as_str());
    let headers: [(HeaderName, HeaderValue); 4] = [
        (
            header::CONTENT_TYPE,
            content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")),
        ),
        (header::CONTENT_LENGTH, HeaderValue::from(bytes)),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    let reader = Held {
        file: tokio::fs::File::from_std(file),
        _permit: permit,
    };
    (headers, Body::from_stream(ReaderStream::new(reader))).into_response()
}

/// A file that is being sent, and the leave to do so.
struct Held {
    file: tokio::fs::File,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(context, into)
    }
}
