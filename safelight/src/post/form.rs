//! A file as the body of a multipart form, read from disk while it is sent.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Stream;
use http_body::{Body, Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, Take};
use tokio_util::io::ReaderStream;

/// How much of the file is in memory at a time.
const CHUNK: usize = 64 * 1024;

/// The body: what stands before the file, the file, and what stands behind it.
#[derive(Debug)]
pub(crate) struct Form {
    head: Option<Bytes>,
    file: ReaderStream<Take<File>>,
    /// Bytes of the file that are still to come.
    left: u64,
    tail: Option<Bytes>,
    boundary: String,
    sent: Arc<AtomicU64>,
}

// === impl Form ===

impl Form {
    /// The file as the field `data`. What of it was sent is added up in `sent`.
    ///
    /// # Errors
    /// Those of opening it.
    pub(crate) async fn open(path: &Path, sent: Arc<AtomicU64>) -> std::io::Result<Form> {
        let file = File::open(path).await?;
        let length = file.metadata().await?.len();
        // Random, so that it does not stand in the file.
        let boundary = format!("safelight-{:032x}", rand::random::<u128>());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"data\"; filename=\"{}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            escaped(&name)
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        Ok(Form {
            head: Some(head.into()),
            file: ReaderStream::with_capacity(file.take(length), CHUNK),
            left: length,
            tail: Some(tail.into()),
            boundary,
            sent,
        })
    }

    /// What the header `Content-Type` says of it.
    pub(crate) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={}", self.boundary)
    }
}

impl Body for Form {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(Frame::data(head))));
        }
        if self.left > 0 {
            return match ready!(Pin::new(&mut self.file).poll_next(context)) {
                Some(Ok(chunk)) => {
                    self.left = self.left.saturating_sub(chunk.len() as u64);
                    self.sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    Poll::Ready(Some(Ok(Frame::data(chunk))))
                }
                Some(Err(error)) => Poll::Ready(Some(Err(error))),
                None => Poll::Ready(Some(Err(std::io::Error::other(
                    "the file became shorter while it was read",
                )))),
            };
        }
        Poll::Ready(self.tail.take().map(|tail| Ok(Frame::data(tail))))
    }

    fn is_end_stream(&self) -> bool {
        self.tail.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let length = |part: &Option<Bytes>| part.as_ref().map_or(0, |part| part.len() as u64);
        SizeHint::with_exact(length(&self.head) + self.left + length(&self.tail))
    }
}

/// A name as a form's parameter: <https://html.spec.whatwg.org/multipage/form-control-infrastructure.html#multipart-form-data>.
fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn next(form: &mut Form) -> Option<Result<Bytes, std::io::Error>> {
        let frame = poll_fn(|context| Pin::new(&mut *form).poll_frame(context)).await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    #[tokio::test]
    async fn a_form_is_as_long_as_it_said_and_has_the_file_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a \"b\"\r\nX: y.png");
        let content = vec![7u8; 200_000];
        std::fs::write(&path, &content).unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let mut form = Form::open(&path, Arc::clone(&sent)).await.unwrap();
        let announced = form.size_hint().exact().unwrap();
        let boundary = form.boundary.clone();

        let (mut body, mut largest) = (Vec::new(), 0);
        while let Some(chunk) = next(&mut form).await {
            let chunk = chunk.unwrap();
            largest = largest.max(chunk.len());
            body.extend_from_slice(&chunk);
        }
        assert!(form.is_end_stream());
        assert_eq!(body.len() as u64, announced);
        assert!(largest <= CHUNK);
        assert_eq!(sent.load(Ordering::Relaxed), 200_000);
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a %22b%22%0D%0AX: y.png\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        assert_eq!(body, [head.as_bytes(), &content, tail.as_bytes()].concat());
    }

    #[tokio::test]
    async fn a_file_that_becomes_shorter_ends_the_form_with_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, vec![7u8; 200_000]).unwrap();
        let mut form = Form::open(&path, Arc::default()).await.unwrap();
        next(&mut form).await.unwrap().unwrap();
        std::fs::write(&path, "short").unwrap();
        let end = loop {
            match next(&mut form).await {
                Some(Ok(_)) => {}
                end => break end,
            }
        };
        assert!(end.unwrap().unwrap_err().to_string().contains("became shorter"));
    }
}
