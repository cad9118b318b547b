use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::TransformError;

/// Where the work that takes the CPU is done: in a bounded number of threads, with a bounded number in wait.
#[derive(Clone, Debug)]
pub(crate) struct Workshop {
    benches: Arc<Semaphore>,
    in_wait: Arc<AtomicUsize>,
    most_in_wait: usize,
}

/// Counts one that waits, for as long as it does.
struct Waiting(Arc<AtomicUsize>);

// === impl Workshop ===

impl Workshop {
    pub(crate) fn new(workers: usize, queue: usize) -> Self {
        Self {
            benches: Arc::new(Semaphore::new(workers)),
            in_wait: Arc::default(),
            most_in_wait: queue,
        }
    }

    /// Has `work` done, first come first served.
    ///
    /// Cancel safe: work that has not begun never begins; work that has runs to its end, and takes its place until then.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, TransformError> + Send + 'static,
    ) -> Result<T, TransformError> {
        let bench = self.bench().await?;
        let (done, _bench) = self.at(bench, work).await?;
        Ok(done)
    }

    /// As [`Workshop::run`], at a place that somebody has already, and who has it again afterwards.
    pub(crate) async fn at<T: Send + 'static>(
        &self,
        bench: OwnedSemaphorePermit,
        work: impl FnOnce() -> Result<T, TransformError> + Send + 'static,
    ) -> Result<(T, OwnedSemaphorePermit), TransformError> {
        let done = tokio::task::spawn_blocking(move || {
            let done = work()?;
            Ok((done, bench))
        });
        done.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a worker failed");
            metrics::counter!("transformer_panics_total").increment(1);
            Err(TransformError::Crashed)
        })
    }

    /// A place to work at that is somebody's until it is dropped, first come first served. Cancel safe.
    pub(crate) async fn bench(&self) -> Result<OwnedSemaphorePermit, TransformError> {
        if let Ok(bench) = Arc::clone(&self.benches).try_acquire_owned() {
            return Ok(bench);
        }
        let _waiting = self.wait().ok_or(TransformError::Busy)?;
        let bench = Arc::clone(&self.benches).acquire_owned().await;
        // Nobody closes the semaphore.
        bench.map_err(|_| TransformError::Crashed)
    }

    fn wait(&self) -> Option<Waiting> {
        let before = self.in_wait.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(Arc::clone(&self.in_wait));
        metrics::gauge!("transformer_queue_depth").set((before + 1) as f64);
        (before < self.most_in_wait).then_some(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let before = self.0.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("transformer_queue_depth").set((before - 1) as f64);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::pin::pin;
    use std::sync::mpsc;

    use futures_like::is_pending;

    use super::*;

    mod futures_like {
        use std::future::{Future, poll_fn};
        use std::pin::Pin;
        use std::task::Poll;

        pub(super) async fn is_pending<F: Future>(mut future: Pin<&mut F>) -> bool {
            poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
        }
    }

    #[tokio::test]
    async fn more_than_may_wait_are_refused_at_once_and_who_gives_up_leaves_their_place() {
        let workshop = Workshop::new(1, 1);
        let (release, released) = mpsc::channel::<()>();
        let mut working = pin!(workshop.run(move || {
            // An error means that the test is over.
            let _ = released.recv();
            Ok(1)
        }));
        assert!(is_pending(working.as_mut()).await);
        {
            let mut waiting = pin!(workshop.run(|| Ok(2)));
            assert!(is_pending(waiting.as_mut()).await);
            let refused = workshop.run(|| Ok(3)).await;
            assert!(matches!(refused, Err(TransformError::Busy)), "{refused:?}");
        }
        let mut waiting = pin!(workshop.run(|| Ok(4)));
        assert!(is_pending(waiting.as_mut()).await);
        release.send(()).unwrap();
        assert_eq!(working.await.unwrap(), 1);
        assert_eq!(waiting.await.unwrap(), 4);
    }

    #[tokio::test]
    async fn work_that_panics_costs_itself_alone() {
        let workshop = Workshop::new(1, 0);
        let crashed = workshop.run::<()>(|| panic!("a test's panic")).await;
        assert!(matches!(crashed, Err(TransformError::Crashed)));
        assert_eq!(workshop.run(|| Ok(1)).await.unwrap(), 1);
    }
}
