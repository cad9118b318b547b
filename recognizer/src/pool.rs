use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

/// C++ templates nest deep in the network's evaluation. Only the pages that are used take memory.
const STACK_BYTES: usize = 8 << 20;

/// A fixed number of threads, each with a tool of its own that no other thread touches, behind a bounded
/// queue.
///
/// A tool is made in its thread and never leaves it, so it need not be `Send`. A job that panics takes its
/// tool with it; a new one is made. The threads end when the pool is dropped and the queue is empty.
pub(crate) struct Pool<T> {
    jobs: mpsc::Sender<Job<T>>,
    loaded: watch::Receiver<Loaded>,
    workers: usize,
}

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;
type Make<T> = dyn Fn() -> Result<T, String> + Send + Sync;

/// How many workers have their tool, and what went wrong with one that has not.
#[derive(Clone, Debug, Default)]
struct Loaded {
    workers: usize,
    failure: Option<String>,
}

/// What to do when the queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Answer [`PoolError::Busy`] at once: for callers that can go elsewhere.
    OrBusy,
    /// Wait for a place: for work of our own.
    OrWait,
}

/// Why a job was not done.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum PoolError {
    #[error("the work queue is full")]
    Busy,
    #[error("the worker failed")]
    Crashed,
}

// === impl Pool ===

impl<T: 'static> Pool<T> {
    /// Starts the threads, which make their tools by themselves.
    pub(crate) fn start(
        workers: usize,
        queue: usize,
        make: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(queue);
        let (loading, loaded) = watch::channel(Loaded::default());
        let receiver = Arc::new(Mutex::new(receiver));
        let make: Arc<Make<T>> = Arc::new(make);
        for number in 0..workers {
            let worker = Worker {
                jobs: Arc::clone(&receiver),
                make: Arc::clone(&make),
                loading: loading.clone(),
            };
            thread::Builder::new()
                .name(format!("recognizer-{number}"))
                .stack_size(STACK_BYTES)
                .spawn(move || worker.run())?;
        }
        Ok(Self {
            jobs: sender,
            loaded,
            workers,
        })
    }

    /// Waits until every worker has its tool. Cancel safe.
    ///
    /// # Errors
    /// What kept one from being made.
    pub(crate) async fn loaded(&self) -> Result<(), String> {
        let mut loaded = self.loaded.clone();
        let settled = |loaded: &Loaded| loaded.failure.is_some() || loaded.workers == self.workers;
        match loaded
            .wait_for(settled)
            .await
            .map(|loaded| loaded.failure.clone())
        {
            Ok(None) => Ok(()),
            Ok(Some(failure)) => Err(failure),
            Err(_) => Err("every worker ended".to_owned()),
        }
    }

    /// Has `work` done by one of the workers and returns what it returns. `work` is given its worker's tool,
    /// and a question to ask between its steps: whether the caller is gone, so that it may as well return.
    ///
    /// Cancel safe: when the future is dropped, a job that has not begun never begins.
    pub(crate) async fn run<R, W>(&self, admission: Admission, work: W) -> Result<R, PoolError>
    where
        R: Send + 'static,
        W: FnOnce(&mut T, &dyn Fn() -> bool) -> R + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queued = Instant::now();
        let job: Job<T> = Box::new(move |tool| {
            if reply.is_closed() {
                metrics::counter!("recognizer_abandoned_total").increment(1);
                return;
            }
            metrics::histogram!("recognizer_queue_seconds").record(queued.elapsed().as_secs_f64());
            let result = work(tool, &|| reply.is_closed());
            // The caller may have gone in the meantime; then nobody wants the result.
            let _ = reply.send(result);
        });
        match admission {
            Admission::OrBusy => match self.jobs.try_send(job) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => return Err(PoolError::Busy),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(PoolError::Crashed),
            },
            Admission::OrWait => self.jobs.send(job).await.map_err(|_| PoolError::Crashed)?,
        }
        self.record_depth();
        let result = answer.await.map_err(|_| PoolError::Crashed);
        self.record_depth();
        result
    }

    fn record_depth(&self) {
        let waiting = self.jobs.max_capacity() - self.jobs.capacity();
        metrics::gauge!("recognizer_queue_depth").set(waiting as f64);
    }
}

/// What a thread of the pool runs.
struct Worker<T> {
    jobs: Arc<Mutex<mpsc::Receiver<Job<T>>>>,
    make: Arc<Make<T>>,
    loading: watch::Sender<Loaded>,
}

// === impl Worker ===

impl<T> Worker<T> {
    fn run(self) {
        let mut tool = match (self.make)() {
            Ok(tool) => {
                self.loading.send_modify(|loaded| loaded.workers += 1);
                Some(tool)
            }
            Err(failure) => {
                self.loading.send_modify(|loaded| loaded.failure = Some(failure));
                return;
            }
        };
        while let Some(job) = self.next() {
            if tool.is_none() {
                tool = self.make_again();
            }
            // Without a tool the job is dropped, which its caller sees.
            let Some(mine) = tool.as_mut() else { continue };
            // The tool is not used again after a panic, so it does not matter what state it was left in.
            if catch_unwind(AssertUnwindSafe(|| job(mine))).is_err() {
                metrics::counter!("recognizer_panics_total").increment(1);
                tracing::error!("a worker panicked; it gets a new detector");
                tool = None;
            }
        }
    }

    /// The workers wait in turn: one for a job, the others for the lock.
    fn next(&self) -> Option<Job<T>> {
        self.jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv()
    }

    fn make_again(&self) -> Option<T> {
        match (self.make)() {
            Ok(tool) => Some(tool),
            Err(failure) => {
                tracing::error!(failure, "a worker could not be rebuilt");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc as blocking;
    use std::time::Duration;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// A pool of one worker that a job keeps busy until the sender says otherwise.
    async fn occupied(queue: usize) -> (Arc<Pool<u32>>, blocking::Sender<()>) {
        let pool = Arc::new(Pool::start(1, queue, || Ok(0)).unwrap());
        let (release, released) = blocking::channel();
        let (begun, has_begun) = oneshot::channel();
        let busy = Arc::clone(&pool);
        tokio::spawn(async move {
            let work = move |_: &mut u32, _: &dyn Fn() -> bool| {
                begun.send(()).unwrap();
                released.recv_timeout(DEADLINE).unwrap();
            };
            busy.run(Admission::OrBusy, work).await
        });
        has_begun.await.unwrap();
        (pool, release)
    }

    #[tokio::test]
    async fn each_worker_keeps_its_own_tool() {
        let pool: Pool<u32> = Pool::start(1, 4, || Ok(40)).unwrap();
        for expected in [41, 42] {
            let count = pool.run(Admission::OrBusy, |tool, _| {
                *tool += 1;
                *tool
            });
            assert_eq!(count.await, Ok(expected));
        }
    }

    #[tokio::test]
    async fn a_full_queue_answers_busy_at_once() {
        let (pool, release) = occupied(1).await;
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.run(Admission::OrBusy, |_, _| ()).await }
        });
        while pool.jobs.capacity() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(Admission::OrBusy, |_, _| ()).await, Err(PoolError::Busy));
        release.send(()).unwrap();
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_job_whose_caller_has_gone_never_begins() {
        let (pool, release) = occupied(4).await;
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let mut gone = Box::pin(pool.run(Admission::OrBusy, move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        assert!(is_pending(&mut gone).await);
        drop(gone);
        release.send(()).unwrap();
        assert_eq!(pool.run(Admission::OrWait, |_, _| ()).await, Ok(()));
        assert_eq!(begun.load(Ordering::SeqCst), 0);
    }

    async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }

    #[tokio::test]
    async fn a_job_learns_that_its_caller_has_gone() {
        let pool: Pool<()> = Pool::start(1, 4, || Ok(())).unwrap();
        let (saw, seen) = oneshot::channel();
        let (begun, has_begun) = oneshot::channel();
        let mut run = Box::pin(pool.run(Admission::OrBusy, move |(), is_gone| {
            assert!(!is_gone());
            begun.send(()).unwrap();
            while !is_gone() {
                thread::yield_now();
            }
            saw.send(()).unwrap();
        }));
        assert!(is_pending(&mut run).await);
        has_begun.await.unwrap();
        drop(run);
        tokio::time::timeout(DEADLINE, seen).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_job_and_the_tool_is_made_anew() {
        let made = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&made);
        let pool: Pool<usize> = Pool::start(1, 4, move || Ok(count.fetch_add(1, Ordering::SeqCst))).unwrap();
        let crashed = pool.run(Admission::OrBusy, |_, _| panic!("a test's panic")).await;
        assert_eq!(crashed, Err::<(), _>(PoolError::Crashed));
        assert_eq!(pool.run(Admission::OrBusy, |tool, _| *tool).await, Ok(1));
        assert_eq!(made.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_tool_that_cannot_be_made_is_told() {
        let pool: Pool<()> = Pool::start(2, 4, || Err("no file".to_owned())).unwrap();
        assert_eq!(pool.loaded().await, Err("no file".to_owned()));
    }
}
