//! A request's body that can be sent again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::grpc::{Body, Status};

/// The body of a call, kept for further tries as long as it is small.
#[derive(Debug)]
pub(crate) struct Replay {
    shared: Arc<Mutex<Recording>>,
}

#[derive(Debug)]
struct Recording {
    /// What has not been read yet; away while a try reads it.
    source: Option<Body>,
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    /// Bytes in `frames`.
    size: usize,
    limit: usize,
    /// The source has been read to its end.
    complete: bool,
    /// The source was larger than the limit, or broke: it cannot be sent again.
    lost: bool,
}

/// The body of one try: what was recorded of the earlier ones, then the rest of the source.
#[derive(Debug)]
pub(crate) struct ReplayBody {
    shared: Option<Arc<Mutex<Recording>>>,
    source: Option<Body>,
    /// The next of the recorded frames.
    position: usize,
    ended: bool,
}

// === impl Replay ===

impl Replay {
    /// Keeps at most `limit` bytes.
    pub(crate) fn new(body: Body, limit: usize) -> Self {
        let recording = Recording {
            source: Some(body),
            frames: Vec::new(),
            trailers: None,
            size: 0,
            limit,
            complete: false,
            lost: false,
        };
        Self {
            shared: Arc::new(Mutex::new(recording)),
        }
    }

    /// The body for one try; `None` where it cannot be sent (again): it was too large, broke, or another try reads
    /// it still.
    pub(crate) fn body(&self) -> Option<ReplayBody> {
        let mut recording = lock(&self.shared);
        if recording.lost {
            return None;
        }
        let source = recording.source.take();
        if source.is_none() && !recording.complete {
            return None;
        }
        Some(ReplayBody {
            shared: Some(self.shared.clone()),
            source,
            position: 0,
            ended: false,
        })
    }

    /// Whether the whole body is recorded, so that tries may be sent side by side.
    pub(crate) fn is_complete(&self) -> bool {
        let recording = lock(&self.shared);
        recording.complete && !recording.lost
    }
}

fn lock(shared: &Mutex<Recording>) -> MutexGuard<'_, Recording> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Recording ===

impl Recording {
    fn keep(&mut self, data: &Bytes) {
        self.size = self.size.saturating_add(data.len());
        if self.size > self.limit {
            self.lost = true;
            self.frames = Vec::new();
        } else {
            self.frames.push(data.clone());
        }
    }
}

// === impl ReplayBody ===

impl ReplayBody {
    /// A body that is sent once and not kept.
    pub(crate) fn once(body: Body) -> Self {
        Self {
            shared: None,
            source: Some(body),
            position: 0,
            ended: false,
        }
    }

    /// The next frame of those recorded; `None` where the source is next.
    fn recorded(&mut self) -> Option<Option<Frame<Bytes>>> {
        let recording = lock(self.shared.as_ref()?);
        if let Some(data) = recording.frames.get(self.position) {
            self.position += 1;
            return Some(Some(Frame::data(data.clone())));
        }
        if !recording.complete {
            return None;
        }
        let trailers = recording.trailers.clone();
        drop(recording);
        if self.ended {
            return Some(None);
        }
        self.ended = true;
        Some(trailers.map(Frame::trailers))
    }

    fn record(&mut self, frame: &Frame<Bytes>) {
        let Some(shared) = &self.shared else { return };
        let mut recording = lock(shared);
        if let Some(data) = frame.data_ref() {
            recording.keep(data);
            self.position = recording.frames.len();
        } else if let Some(trailers) = frame.trailers_ref() {
            recording.trailers = Some(trailers.clone());
        }
    }

    /// The source has nothing more to give.
    fn source_ended(&mut self, well: bool) {
        self.ended = true;
        self.source = None;
        if let Some(shared) = &self.shared {
            let mut recording = lock(shared);
            recording.complete |= well;
            recording.lost |= !well;
        }
    }
}

impl HttpBody for ReplayBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(recorded) = self.recorded() {
            return Poll::Ready(recorded.map(Ok));
        }
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(source).poll_frame(cx));
        match frame {
            Some(Ok(frame)) => {
                self.record(&frame);
                if self.source.as_ref().is_some_and(HttpBody::is_end_stream) || frame.is_trailers() {
                    self.source_ended(true);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.source_ended(false);
                Poll::Ready(Some(Err(error)))
            }
            None => {
                self.source_ended(true);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        if self.ended {
            return true;
        }
        let recorded_to_the_end = match &self.shared {
            Some(shared) => {
                let recording = lock(shared);
                if recording.complete {
                    return self.position >= recording.frames.len() && recording.trailers.is_none();
                }
                self.position >= recording.frames.len()
            }
            None => true,
        };
        recorded_to_the_end && self.source.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.shared, &self.source) {
            (None, Some(source)) => source.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for ReplayBody {
    fn drop(&mut self) {
        // The next try goes on reading where this one stopped.
        if let (Some(shared), Some(source)) = (&self.shared, self.source.take()) {
            lock(shared).source = Some(source);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn body(parts: &[&'static str]) -> Body {
        let frames: Vec<Result<Frame<Bytes>, Status>> = parts
            .iter()
            .map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes()))))
            .collect();
        Body::new(StreamBody::new(tokio_stream::iter(frames)))
    }

    async fn read(body: ReplayBody) -> String {
        let bytes = body.collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn a_small_body_can_be_sent_again() {
        let replay = Replay::new(body(&["one", "two"]), 10);
        for _ in 0..3 {
            assert_eq!(read(replay.body().unwrap()).await, "onetwo");
        }
        assert!(replay.is_complete());
    }

    #[tokio::test]
    async fn a_try_that_ended_in_the_middle_is_followed_by_a_whole_one() {
        let replay = Replay::new(body(&["one", "two", "three"]), 20);
        let mut first = replay.body().unwrap();
        first.frame().await.unwrap().unwrap();
        assert!(replay.body().is_none(), "the first try reads it still");
        drop(first);
        assert!(!replay.is_complete());
        assert_eq!(read(replay.body().unwrap()).await, "onetwothree");
    }

    #[tokio::test]
    async fn a_body_above_the_limit_is_sent_whole_and_only_once() {
        let replay = Replay::new(body(&["one", "two", "three"]), 5);
        assert_eq!(read(replay.body().unwrap()).await, "onetwothree");
        assert!(replay.body().is_none());
        assert!(!replay.is_complete());
    }

    #[tokio::test]
    async fn trailers_are_sent_again() {
        let mut trailers = HeaderMap::new();
        trailers.insert("checksum", "7".parse().unwrap());
        let frames: Vec<Result<_, Status>> = vec![
            Ok(Frame::data(Bytes::from_static(b"one"))),
            Ok(Frame::trailers(trailers)),
        ];
        let replay = Replay::new(Body::new(StreamBody::new(tokio_stream::iter(frames))), 10);
        for _ in 0..2 {
            let collected = replay.body().unwrap().collect().await.unwrap();
            assert_eq!(collected.trailers().unwrap()["checksum"], "7");
            assert_eq!(collected.to_bytes(), "one");
        }
    }

    #[tokio::test]
    async fn an_empty_body_ends_at_once() {
        let replay = Replay::new(Body::empty(), 10);
        let body = replay.body().unwrap();
        assert!(body.is_end_stream());
        assert_eq!(read(body).await, "");
        assert_eq!(read(replay.body().unwrap()).await, "");
    }

    #[tokio::test]
    async fn a_body_that_breaks_is_not_sent_again() {
        let frames: Vec<Result<Frame<Bytes>, Status>> = vec![
            Ok(Frame::data(Bytes::from_static(b"one"))),
            Err(Status::aborted("gone")),
        ];
        let replay = Replay::new(Body::new(StreamBody::new(tokio_stream::iter(frames))), 10);
        assert!(replay.body().unwrap().collect().await.is_err());
        assert!(replay.body().is_none());
    }
}
