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
    let duplicates = accepted.iter().filter(|image| image.duplicate).count();
    metrics::counter!("safelight_receiver_images_total", "outcome" => "accepted")
        .increment((accepted.len() - duplicates) as u64);
    metrics::counter!("safelight_receiver_images_total", "outcome" => "duplicate")
        .increment(duplicates as u64);
    if duplicates < accepted.len() {
        committed.notify_one();
    }
    Ok(accepted)
}
