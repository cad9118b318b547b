//! Group commit: posts that wait while a transaction runs share the next one.
//!
//! A commit costs a flush to disk, whether it records one image or a thousand. One task per acceptor
//! commits whatever has come together since its last commit: nothing waits while it is idle, and the busier
//! it gets the more posts share a flush.

use std::sync::Arc;
use std::time::Instant;

use safelight_database::{Accepted, Error, Images, NewImage};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

/// Where accepted images are recorded.
pub(crate) trait Ledger: Send + Sync + 'static {
    /// Records `images` in one transaction; answers in their order.
    fn accept(&self, images: &[NewImage]) -> impl Future<Output = Result<Vec<Accepted>, Error>> + Send;
}

impl Ledger for Images {
    async fn accept(&self, images: &[NewImage]) -> Result<Vec<Accepted>, Error> {
        Images::accept(self, images).await
    }
}

/// What each caller gets: one answer for each of its images, or why its transaction failed.
pub(crate) type Answer = Result<Vec<Accepted>, Arc<Error>>;

/// Takes images to record. When the last clone is dropped, its task records what still waits and ends.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor {
    submissions: mpsc::Sender<Submission>,
}

#[derive(Debug)]
struct Submission {
    images: Vec<NewImage>,
    answer: oneshot::Sender<Answer>,
}

impl Acceptor {
    /// Starts the task. `committed` is notified after every commit that left something in the outbox; no
    /// transaction takes up another submission once it holds `most_images`; `waiting` submissions are kept
    /// at most, later callers wait for a place.
    pub(crate) fn start(
        ledger: impl Ledger,
        committed: Arc<Notify>,
        most_images: usize,
        waiting: usize,
    ) -> (Self, JoinHandle<()>) {
        let (submissions, receiver) = mpsc::channel(waiting.max(1));
        let task = tokio::spawn(run(ledger, committed, most_images, receiver));
        (Self { submissions }, task)
    }

    /// Records images. A caller that stops waiting changes nothing: they are recorded all the same.
    ///
    /// `None` when the task is gone, which only a panic in it can cause.
    pub(crate) async fn accept(&self, images: Vec<NewImage>) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        self.submissions.send(Submission { images, answer }).await.ok()?;
        answered.await.ok()
    }
}

async fn run(
    ledger: impl Ledger,
    committed: Arc<Notify>,
    most_images: usize,
    mut submissions: mpsc::Receiver<Submission>,
) {
    while let Some(first) = submissions.recv().await {
        let mut images = first.images.len();
        let mut batch = vec![first];
        while images < most_images
            && let Ok(next) = submissions.try_recv()
        {
            images += next.images.len();
            batch.push(next);
        }
        commit(&ledger, &committed, batch).await;
    }
}

async fn commit(ledger: &impl Ledger, committed: &Notify, mut batch: Vec<Submission>) {
    let shares: Vec<usize> = batch.iter().map(|submission| submission.images.len()).collect();
    let mut images = Vec::with_capacity(shares.iter().sum());
    for submission in &mut batch {
        images.append(&mut submission.images);
    }
    match record(ledger, committed, &images).await {
        Ok(accepted) => {
            let mut accepted = accepted.into_iter();
            for (submission, share) in batch.into_iter().zip(shares) {
                let _ = submission
                    .answer
                    .send(Ok(accepted.by_ref().take(share).collect()));
            }
        }
        // The images of one caller must not fail those of another.
        Err(error) if !error.is_unavailable() && batch.len() > 1 => {
            let mut rest = images.as_slice();
            for (submission, share) in batch.into_iter().zip(shares) {
                let (own, others) = rest.split_at(share);
                rest = others;
                let _ = submission
                    .answer
                    .send(record(ledger, committed, own).await.map_err(Arc::new));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for submission in batch {
                let _ = submission.answer.send(Err(Arc::clone(&error)));
            }
        }
    }
}

async fn record(
    ledger: &impl Ledger,
    committed: &Notify,
    images: &[NewImage],
) -> Result<Vec<Accepted>, Error> {
    let started = Instant::now();
    let accepted = ledger.accept(images).await;
    metrics::histogram!("safelight_receiver_transaction_seconds").record(started.elapsed());
    metrics::counter!("safelight_receiver_transactions_total").increment(1);
    let accepted = accepted?;
    debug_assert_eq!(accepted.len(), images.len(), "one answer an image");
    tell(&accepted, committed);
    Ok(accepted)
}

/// Counts what was accepted, and notifies `committed` where that left something in the outbox.
pub(crate) fn tell(accepted: &[Accepted], committed: &Notify) {
    let duplicates = accepted.iter().filter(|image| image.duplicate).count();
    metrics::counter!("safelight_receiver_images_total", "outcome" => "accepted")
        .increment((accepted.len() - duplicates) as u64);
    metrics::counter!("safelight_receiver_images_total", "outcome" => "duplicate")
        .increment(duplicates as u64);
    if duplicates < accepted.len() {
        committed.notify_one();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use safelight_database::{Database, Options, Status};
    use tokio::sync::Semaphore;
    use tokio_test::{assert_pending, assert_ready, task};

    use super::*;

    /// Answers as the database does, one transaction for each permit of its gate.
    #[derive(Clone)]
    struct Gated {
        gate: Arc<Semaphore>,
        transactions: Arc<Mutex<Vec<Vec<String>>>>,
    }

    impl Gated {
        fn closed() -> Self {
            Self {
                gate: Arc::new(Semaphore::new(0)),
                transactions: Arc::default(),
            }
        }

        fn transactions(&self) -> Vec<Vec<String>> {
            self.transactions.lock().unwrap().clone()
        }
    }

    impl Ledger for Gated {
        async fn accept(&self, images: &[NewImage]) -> Result<Vec<Accepted>, Error> {
            self.gate.acquire().await.unwrap().forget();
            let paths: Vec<String> = images.iter().map(|image| image.path.clone()).collect();
            self.transactions.lock().unwrap().push(paths.clone());
            if paths.iter().any(|path| path == "bad") {
                return Err(Error::Invalid("bad".to_owned()));
            }
            let accepted = |path: String| Accepted {
                id: 1,
                duplicate: path.starts_with("old"),
                path,
                status: Status::Pending,
            };
            Ok(paths.into_iter().map(accepted).collect())
        }
    }

    fn images(paths: &[&str]) -> Vec<NewImage> {
        paths
            .iter()
            .map(|path| NewImage {
                path: (*path).to_owned(),
                project: None,
            })
            .collect()
    }

    fn paths(answer: Option<Answer>) -> Vec<String> {
        answer
            .unwrap()
            .unwrap()
            .into_iter()
            .map(|image| image.path)
            .collect()
    }

    /// Lets the acceptor's task run until it waits for something.
    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn posts_that_wait_while_a_transaction_runs_share_the_next() {
        let ledger = Gated::closed();
        let (acceptor, _task) = Acceptor::start(ledger.clone(), Arc::default(), 100, 100);
        let mut first = task::spawn(acceptor.accept(images(&["a"])));
        assert_pending!(first.poll());
        settle().await;
        let mut second = task::spawn(acceptor.accept(images(&["b", "c"])));
        let mut third = task::spawn(acceptor.accept(images(&["d"])));
        assert_pending!(second.poll());
        assert_pending!(third.poll());
        ledger.gate.add_permits(2);
        assert_eq!(paths(first.await), ["a"]);
        assert_eq!(paths(second.await), ["b", "c"]);
        assert_eq!(paths(third.await), ["d"]);
        assert_eq!(ledger.transactions(), [vec!["a"], vec!["b", "c", "d"]]);
    }

    #[tokio::test]
    async fn a_transaction_takes_up_no_more_once_it_is_full() {
        let ledger = Gated::closed();
        let (acceptor, _task) = Acceptor::start(ledger.clone(), Arc::default(), 2, 100);
        let posts = ["a", "b", "c", "d"].map(|path| {
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(images(&[path])).await })
        });
        settle().await;
        ledger.gate.add_permits(10);
        for post in posts {
            assert_eq!(paths(post.await.unwrap()).len(), 1);
        }
        assert!(
            ledger
                .transactions()
                .iter()
                .all(|transaction| transaction.len() <= 2)
        );
    }

    #[tokio::test]
    async fn an_image_that_is_refused_fails_its_own_caller_and_no_other() {
        let ledger = Gated::closed();
        let (acceptor, _task) = Acceptor::start(ledger.clone(), Arc::default(), 100, 100);
        let mut first = task::spawn(acceptor.accept(images(&["a"])));
        assert_pending!(first.poll());
        settle().await;
        let mut good = task::spawn(acceptor.accept(images(&["b"])));
        let mut bad = task::spawn(acceptor.accept(images(&["bad"])));
        assert_pending!(good.poll());
        assert_pending!(bad.poll());
        ledger.gate.add_permits(10);
        assert_eq!(paths(good.await), ["b"]);
        assert!(bad.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn while_the_database_is_away_every_caller_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("safelight.db").display());
        let database = Database::connect(&url, &Options::default()).await.unwrap();
        database.close().await;
        let (acceptor, _task) = Acceptor::start(database.images(), Arc::default(), 100, 100);
        let (first, second) = tokio::join!(acceptor.accept(images(&["a"])), acceptor.accept(images(&["b"])));
        assert!(first.unwrap().unwrap_err().is_unavailable());
        assert!(second.unwrap().unwrap_err().is_unavailable());
    }

    #[tokio::test]
    async fn what_a_caller_submitted_is_recorded_although_it_went_away() {
        let ledger = Gated::closed();
        let (acceptor, task) = Acceptor::start(ledger.clone(), Arc::default(), 100, 100);
        let mut gone = task::spawn(acceptor.accept(images(&["a"])));
        assert_pending!(gone.poll());
        drop(gone);
        drop(acceptor);
        ledger.gate.add_permits(1);
        task.await.unwrap();
        assert_eq!(ledger.transactions(), [["a"]]);
    }

    #[tokio::test]
    async fn the_relay_is_woken_by_what_is_new_and_not_by_duplicates() {
        let ledger = Gated::closed();
        ledger.gate.add_permits(2);
        let committed = Arc::new(Notify::new());
        let (acceptor, _task) = Acceptor::start(ledger, Arc::clone(&committed), 100, 100);
        let mut woken = task::spawn(committed.notified());
        acceptor.accept(images(&["old"])).await;
        assert_pending!(woken.poll());
        acceptor.accept(images(&["old", "new"])).await;
        assert_ready!(woken.poll());
    }
}
