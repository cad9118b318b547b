//! A form with files (`multipart/form-data`, RFC 7578), read part by part and held in memory a little at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use multer::{Constraints, Field, Multipart, SizeLimit};
use tokio_stream::Stream;

/// The most parts of a form.
const PARTS: usize = 8;
/// The most bytes of a part that nobody asked for.
const OTHER_PART: u64 = 4096;
/// What goes through the parser at a time.
const PIECE: usize = 64 << 10;
/// The most that the parser may keep back, such as a part's headers.
const KEPT_BACK: u64 = 64 << 10;
/// What a form may have beside its file: boundaries, headers, other parts.
pub(crate) const AROUND: u64 = 128 << 10;

/// Why a form cannot be read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormError {
    /// The connection broke off.
    #[error("the connection broke off within the form")]
    Broken,
    /// It is not written as it should be.
    #[error("{0}")]
    Wrong(String),
    /// The wanted part, or all together, is larger than allowed.
    #[error("the form is too large")]
    TooLarge,
}

/// A form whose parts are read one after the other.
pub(crate) struct Form<'body> {
    multipart: Multipart<'body>,
    given_out: Arc<AtomicU64>,
    parts: usize,
}

/// One part of it. The next one can be asked for when this is dropped.
pub(crate) struct Part<'body> {
    field: Field<'body>,
    given_out: Arc<AtomicU64>,
}

// === impl Form ===

impl<'body> Form<'body> {
    /// A form whose part `wanted` has at most `most` bytes.
    pub(crate) fn new(body: &'body mut Body, boundary: &str, wanted: &str, most: u64) -> Self {
        let given_out = Arc::new(AtomicU64::new(0));
        let pieces = Pieces {
            body,
            frame: Bytes::new(),
            rests: false,
            handed_in: 0,
            given_out: Arc::clone(&given_out),
        };
        let limits = SizeLimit::new()
            .whole_stream(most.saturating_add(AROUND))
            .per_field(OTHER_PART)
            .for_field(wanted, most);
        let constraints = Constraints::new().size_limit(limits);
        Self {
            multipart: Multipart::with_constraints(pieces, boundary, constraints),
            given_out,
            parts: 0,
        }
    }

    /// The next part; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Part<'body>>, FormError> {
        let Some(field) = self.multipart.next_field().await? else {
            return Ok(None);
        };
        self.parts += 1;
        if self.parts > PARTS {
            return Err(FormError::Wrong(format!("it has more than {PARTS} parts")));
        }
        Ok(Some(Part {
            field,
            given_out: Arc::clone(&self.given_out),
        }))
    }
}

// === impl Part ===

impl Part<'_> {
    pub(crate) fn name(&self) -> Option<&str> {
        self.field.name()
    }

    /// What its sender calls the file.
    pub(crate) fn file_name(&self) -> Option<&str> {
        self.field.file_name()
    }

    /// The next bytes of its content; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, FormError> {
        let chunk = self.field.chunk().await?;
        let bytes = chunk.as_ref().map_or(0, Bytes::len) as u64;
        self.given_out.fetch_add(bytes, Ordering::Relaxed);
        Ok(chunk)
    }
}

/// A body in pieces, handed to a parser that takes all it can get: one piece each time it asks, and no more while it
/// keeps back what it got. Otherwise a part whose headers never end would be held in memory.
struct Pieces<'body> {
    body: &'body mut Body,
    frame: Bytes,
    /// A piece was handed in just now.
    rests: bool,
    handed_in: u64,
    given_out: Arc<AtomicU64>,
}

// === impl Pieces ===

impl Stream for Pieces<'_> {
    type Item = Result<Bytes, FormError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rests) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        while self.frame.is_empty() {
            match ready!(Pin::new(&mut *self.body).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(_)) => return Poll::Ready(Some(Err(FormError::Broken))),
                // Trailers are nobody's.
                Some(Ok(frame)) => self.frame = frame.into_data().unwrap_or_default(),
            }
        }
        if self.handed_in - self.given_out.load(Ordering::Relaxed) > KEPT_BACK + AROUND {
            let detail = "the headers of a part, or what stands before the first, do not end";
            return Poll::Ready(Some(Err(FormError::Wrong(detail.to_owned()))));
        }
        let length = self.frame.len().min(PIECE);
        let piece = self.frame.split_to(length);
        self.handed_in += piece.len() as u64;
        self.rests = true;
        Poll::Ready(Some(Ok(piece)))
    }
}

// === impl FormError ===

impl From<multer::Error> for FormError {
    fn from(error: multer::Error) -> Self {
        match error {
            multer::Error::StreamReadFailed(reason) => match reason.downcast::<Self>() {
                Ok(own) => *own,
                Err(_) => Self::Broken,
            },
            multer::Error::FieldSizeExceeded { field_name, .. } if field_name.as_deref() != Some("data") => {
                Self::Wrong(format!("a part beside 'data' has more than {OTHER_PART} bytes"))
            }
            multer::Error::FieldSizeExceeded { .. } | multer::Error::StreamSizeExceeded { .. } => {
                Self::TooLarge
            }
            multer::Error::IncompleteStream
            | multer::Error::IncompleteHeaders
            | multer::Error::IncompleteFieldData { .. } => {
                Self::Wrong("it ends before its last part does".to_owned())
            }
            // The texts of the others hold headers as they were sent.
            _ => Self::Wrong("the headers of a part cannot be read".to_owned()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::AtomicUsize;

    use tokio_stream::StreamExt;

    use super::*;

    const FRAME: usize = 16 << 10;

    /// A body that begins so and goes on without end, all of it there at once; and how many frames of it were taken.
    fn endless(beginning: &'static str) -> (Body, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let frames = std::iter::once(Bytes::from_static(beginning.as_bytes()))
            .chain(std::iter::repeat(Bytes::from_static(&[b'x'; FRAME])));
        let frames = tokio_stream::iter(frames).map(move |frame| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(frame)
        });
        (Body::from_stream(frames), taken)
    }

    #[tokio::test]
    async fn of_a_file_a_little_is_taken_at_a_time_and_given_out() {
        let (mut body, taken) = endless("--between\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\n");
        let mut form = Form::new(&mut body, "between", "data", u64::MAX);
        let mut part = form.next().await.unwrap().unwrap();
        let mut given_out = 0;
        while given_out < 100 * FRAME {
            let chunk = part.chunk().await.unwrap().unwrap();
            assert!(chunk.len() <= PIECE + FRAME, "{} bytes at once", chunk.len());
            given_out += chunk.len();
            let taken = taken.load(Ordering::Relaxed) * FRAME;
            assert!(
                taken <= given_out + 2 * FRAME,
                "{taken} bytes taken, {given_out} given out"
            );
        }
    }

    #[tokio::test]
    async fn what_does_not_end_is_refused_before_much_of_it_is_held() {
        for beginning in ["", "--between\r\nX: ", "--between\r\n", "--between\r\nX: 1\r\n"] {
            let (mut body, taken) = endless(beginning);
            let mut form = Form::new(&mut body, "between", "data", u64::MAX);
            let Err(FormError::Wrong(reason)) = form.next().await else {
                panic!("it is refused: {beginning:?}");
            };
            assert!(reason.contains("do not end"), "{reason}");
            let taken = taken.load(Ordering::Relaxed) * FRAME;
            assert!(taken <= 256 << 10, "{taken} bytes are held");
        }
    }
}
