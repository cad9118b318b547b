//! Reading bodies into bounded memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use safelight_service::Problem;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::{Limits, problems};

/// One permit of the memory for bodies stands for so many bytes.
const GRAIN: usize = 1024;

/// How much of a body that is too large is read and thrown away before the answer. Many clients look for an
/// answer only after they have sent everything, and a connection that is closed on them hides it.
const DISCARD_BYTES: usize = 64 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// Reads bodies: each up to a limit, all together within a budget of memory.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    most: usize,
    entries: u32,
    patience: Duration,
    memory: Arc<Semaphore>,
}

/// A body in memory.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    /// Its share of the budget, given back when this is dropped. What is made of the body takes up as much
    /// again, so this outlives the bytes, until the answer is there.
    pub(crate) memory: OwnedSemaphorePermit,
}

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Self {
        let most = limits.body_bytes as usize;
        let memory = grains(most.max(limits.body_memory_bytes as usize));
        Self {
            most,
            entries: limits.bulk_entries,
            // The other half is left for the work, so that a slow sender gets its own answer.
            patience: limits.request_timeout() / 2,
            memory: Arc::new(Semaphore::new(memory as usize)),
        }
    }

    /// The whole body. Waits while other bodies take up the memory.
    pub(crate) async fn read(&self, body: Body) -> Result<Held, Problem> {
        let length = body
            .size_hint()
            .exact()
            .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if length.is_some_and(|length| length > self.most) {
            discard(body).await;
            return Err(problems::body_too_large(self.most, self.entries));
        }
        // A body of unknown length is charged for the largest it may become.
        let reserved = grains(length.unwrap_or(self.most));
        let reading = async {
            let Ok(memory) = Arc::clone(&self.memory).acquire_many_owned(reserved).await else {
                unreachable!("this semaphore is never closed")
            };
            Ok(Held {
                bytes: self.collect(body, length).await?,
                memory,
            })
        };
        match timeout(self.patience, reading).await {
            Ok(held) => held,
            Err(_) => Err(problems::body_late(self.patience.as_secs())),
        }
    }

    async fn collect(&self, mut body: Body, length: Option<usize>) -> Result<Bytes, Problem> {
        let mut whole = BytesMut::with_capacity(length.unwrap_or(GRAIN));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| problems::body_incomplete())?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > self.most {
                discard(body).await;
                return Err(problems::body_too_large(self.most, self.entries));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }
}

fn grains(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(GRAIN)).unwrap_or(u32::MAX)
}

pub(crate) async fn discard(mut body: Body) {
    let reading = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > DISCARD_BYTES {
                break;
            }
        }
    };
    // A sender that is still at it after this time gets the answer and then a closed connection.
    let _ = timeout(DISCARD_TIME, reading).await;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::StatusCode;
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    fn bodies() -> Bodies {
        Bodies::new(&Limits {
            body_bytes: 2048,
            body_memory_bytes: 3072,
            request_seconds: 10,
            ..Limits::default()
        })
    }

    /// A body whose length is not known beforehand.
    fn streamed(parts: &'static [&'static str]) -> Body {
        let parts = parts
            .iter()
            .map(|part| Ok::<_, std::io::Error>(Bytes::from_static(part.as_bytes())));
        Body::from_stream(tokio_stream::iter(parts))
    }

    #[tokio::test]
    async fn a_body_within_the_limit_is_read_whole() {
        assert_eq!(bodies().read(Body::from("{}")).await.unwrap().bytes, "{}");
        assert_eq!(bodies().read(streamed(&["{", "}"])).await.unwrap().bytes, "{}");
        assert_eq!(bodies().read(Body::empty()).await.unwrap().bytes, "");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_with_and_without_a_known_length() {
        let known = bodies().read(Body::from(vec![b' '; 2049])).await.unwrap_err();
        assert_eq!(known.status, StatusCode::PAYLOAD_TOO_LARGE);
        let parts: &'static [&'static str] = vec!["0123456789012345"; 200].leak();
        let unknown = bodies().read(streamed(parts)).await.unwrap_err();
        assert_eq!(unknown.status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn bodies_wait_while_others_take_up_the_memory() {
        let bodies = bodies();
        let first = bodies.read(Body::from(vec![b' '; 2048])).await.unwrap();
        let mut second = task::spawn(bodies.read(Body::from(vec![b' '; 2048])));
        assert_pending!(second.poll());
        drop(first);
        assert!(second.is_woken());
        assert_ready!(second.poll()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_given_up() {
        let stalled = Body::from_stream(tokio_stream::pending::<Result<Bytes, std::io::Error>>());
        let late = bodies().read(stalled).await.unwrap_err();
        assert_eq!(late.status, StatusCode::REQUEST_TIMEOUT);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_told() {
        let parts = [Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("reset"))];
        let broken = bodies()
            .read(Body::from_stream(tokio_stream::iter(parts)))
            .await
            .unwrap_err();
        assert_eq!(broken.kind, "urn:safelight:problem:body-incomplete");
    }
}
