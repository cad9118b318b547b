//! The relay over a queue that comes and goes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use safelight_database::{Database, NewImage, Options};
use safelight_queue::{
    CHANNEL, Publish, Publishing, Queue, QueueError, Relay, RelaySettings, Subscription, TOPIC_IMAGES,
    decode_id,
};
use safelight_service::Shutdown;
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;

/// Long enough for a slow machine; nothing waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(60);

/// The embedded queue behind a switch.
#[derive(Clone)]
struct Switched {
    queue: Queue,
    away: Arc<AtomicBool>,
    refusals: Arc<AtomicUsize>,
    publishes: Arc<AtomicUsize>,
    waits: Arc<AtomicUsize>,
    answers: Arc<AtomicUsize>,
    /// The most batches that were sent and not answered at a time.
    most_ahead: Arc<AtomicUsize>,
    answering: Arc<Semaphore>,
}

impl Publish for Switched {
    /// `None` for what nobody took: that is told only to who waits for it.
    type Publishing = Option<Publishing>;

    async fn enqueue(&self, topic: &str, bodies: &[Bytes]) -> Option<Publishing> {
        let sent = self.publishes.fetch_add(1, Ordering::SeqCst) + 1;
        let ahead = sent - self.answers.load(Ordering::SeqCst);
        self.most_ahead.fetch_max(ahead, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) {
            return None;
        }
        Some(self.queue.enqueue(topic, bodies).await)
    }

    async fn wait(&self, publishing: Option<Publishing>) -> Result<(), QueueError> {
        self.waits.fetch_add(1, Ordering::SeqCst);
        // Nothing is answered while the door is shut.
        let _open = self.answering.acquire().await;
        self.answers.fetch_add(1, Ordering::SeqCst);
        let Some(publishing) = publishing else {
            self.refusals.fetch_add(1, Ordering::SeqCst);
            return Err(QueueError::Unavailable("connection refused".into()));
        };
        publishing.wait().await
    }
}

struct Relayed {
    database: Database,
    queue: Switched,
    wake: Arc<Notify>,
    shutdown: Shutdown,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl Relayed {
    async fn start(away: bool, settings: RelaySettings) -> Self {
        Self::start_with(away, settings, 0, Shutdown::new()).await
    }

    /// With so many images accepted before.
    async fn start_with(away: bool, settings: RelaySettings, accepted: usize, shutdown: Shutdown) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder).await;
        let queue = Switched {
            queue: Queue::embedded(database.embedded_queue().unwrap()),
            away: Arc::new(AtomicBool::new(away)),
            refusals: Arc::default(),
            publishes: Arc::default(),
            waits: Arc::default(),
            answers: Arc::default(),
            most_ahead: Arc::default(),
            answering: Arc::new(Semaphore::new(1)),
        };
        if accepted > 0 {
            accept(&database, 0, accepted).await;
        }
        let wake = Arc::new(Notify::new());
        let relay = Relay::new(database.clone(), queue.clone(), Arc::clone(&wake), settings);
        let task = tokio::spawn(relay.run(shutdown.clone()));
        Self {
            database,
            queue,
            wake,
            shutdown,
            task,
            _folder: folder,
        }
    }

    async fn accept(&self, first: usize, count: usize) -> Vec<i64> {
        let ids = accept(&self.database, first, count).await;
        self.wake.notify_one();
        ids
    }

    async fn announced(&self, count: usize) -> Vec<i64> {
        let mut messages = self.queue.queue.subscribe(TOPIC_IMAGES, CHANNEL, 64).unwrap();
        announced(&mut messages, count).await
    }

    async fn drained(&self) {
        until("the outbox is empty", || async {
            self.database.outbox().pending().await.unwrap() == 0
        })
        .await;
    }
}

async fn accept(database: &Database, first: usize, count: usize) -> Vec<i64> {
    let image = |n| NewImage {
        path: format!("/p/{n}.jpg"),
        project: None,
    };
    let images: Vec<NewImage> = (first..first + count).map(image).collect();
    let accepted = database.images().accept(&images).await.unwrap();
    accepted.into_iter().map(|image| image.id).collect()
}

/// Nothing happens by the clock within a test.
fn only_when_woken() -> RelaySettings {
    RelaySettings {
        poll: Duration::from_secs(3600),
        ..RelaySettings::default()
    }
}

fn impatient() -> RelaySettings {
    RelaySettings {
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(20),
        ..only_when_woken()
    }
}

#[tokio::test]
async fn what_was_accepted_is_announced_once_and_leaves_the_outbox() {
    let relayed = Relayed::start(false, only_when_woken()).await;
    let ids = relayed.accept(0, 3).await;
    assert_eq!(relayed.announced(3).await, ids);
    relayed.drained().await;
    assert_eq!(
        relayed.queue.publishes.load(Ordering::SeqCst),
        1,
        "one publish for a batch"
    );
}

#[tokio::test]
async fn more_than_a_batch_is_announced_without_another_wake() {
    let relayed = Relayed::start(
        false,
        RelaySettings {
            batch: 10,
            ..only_when_woken()
        },
    )
    .await;
    let ids = relayed.accept(0, 95).await;
    assert_eq!(relayed.announced(95).await, ids);
    relayed.drained().await;
}

fn small_batches() -> RelaySettings {
    RelaySettings {
        batch: 10,
        pipeline: 3,
        ..impatient()
    }
}

#[tokio::test]
async fn batches_are_sent_behind_one_that_the_queue_has_still_to_acknowledge_and_no_more_than_allowed() {
    let relayed = Relayed::start(false, small_batches()).await;
    let shut = relayed.queue.answering.clone().acquire_owned().await.unwrap();
    relayed.accept(0, 95).await;
    until("it waits for the first", || async {
        relayed.queue.waits.load(Ordering::SeqCst) == 1
    })
    .await;
    assert_eq!(relayed.queue.publishes.load(Ordering::SeqCst), 3);
    assert_eq!(
        relayed.database.outbox().pending().await.unwrap(),
        95,
        "nothing leaves the outbox unacknowledged"
    );
    drop(shut);
    relayed.drained().await;
    assert_eq!(relayed.queue.publishes.load(Ordering::SeqCst), 10);
}

#[tokio::test]
async fn batches_that_are_not_acknowledged_are_tried_again_one_at_a_time_and_announced_once() {
    let relayed = Relayed::start(false, small_batches()).await;
    let shut = relayed.queue.answering.clone().acquire_owned().await.unwrap();
    relayed.queue.away.store(true, Ordering::SeqCst);
    let ids = relayed.accept(0, 50).await;
    until("it waits for the first", || async {
        relayed.queue.waits.load(Ordering::SeqCst) == 1
    })
    .await;
    assert_eq!(relayed.queue.publishes.load(Ordering::SeqCst), 3);
    drop(shut);
    let refused = async |count: usize| {
        until("several are refused", || async {
            relayed.queue.refusals.load(Ordering::SeqCst) >= count
        })
        .await;
    };
    refused(3).await;
    relayed.queue.most_ahead.store(0, Ordering::SeqCst);
    refused(9).await;
    assert_eq!(relayed.queue.most_ahead.load(Ordering::SeqCst), 1);
    relayed.queue.away.store(false, Ordering::SeqCst);
    let mut announced = relayed.announced(50).await;
    announced.sort_unstable();
    assert_eq!(announced, ids);
    relayed.drained().await;
}

#[tokio::test]
async fn a_stopping_relay_does_not_wait_for_an_acknowledgement_that_does_not_come() {
    let settings = RelaySettings {
        farewell: Duration::from_millis(50),
        ..small_batches()
    };
    let relayed = Relayed::start(false, settings).await;
    let _shut = relayed.queue.answering.clone().acquire_owned().await.unwrap();
    relayed.accept(0, 50).await;
    until("it waits for the first", || async {
        relayed.queue.waits.load(Ordering::SeqCst) == 1
    })
    .await;
    relayed.shutdown.trigger();
    let ended = tokio::time::timeout(Duration::from_secs(10), relayed.task).await;
    ended.expect("it ends").unwrap();
    assert_eq!(relayed.database.outbox().pending().await.unwrap(), 50);
}

#[tokio::test]
async fn a_stopping_relay_sends_one_batch_at_a_time() {
    let shutdown = Shutdown::new();
    shutdown.trigger();
    let relayed = Relayed::start_with(false, small_batches(), 50, shutdown).await;
    relayed.drained().await;
    assert_eq!(relayed.queue.publishes.load(Ordering::SeqCst), 5);
    assert_eq!(relayed.queue.most_ahead.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_was_accepted_while_the_queue_was_away_is_announced_when_it_is_back() {
    let relayed = Relayed::start(true, impatient()).await;
    let mut ids = relayed.accept(0, 3).await;
    until("the relay has tried again", || async {
        relayed.queue.refusals.load(Ordering::SeqCst) >= 3
    })
    .await;
    ids.extend(relayed.accept(3, 2).await);
    assert_eq!(
        relayed.database.outbox().pending().await.unwrap(),
        5,
        "nothing leaves the outbox unpublished"
    );
    relayed.queue.away.store(false, Ordering::SeqCst);
    assert_eq!(relayed.announced(5).await, ids);
    relayed.drained().await;
}

#[tokio::test]
async fn a_queue_that_stays_away_is_not_hammered() {
    let settings = RelaySettings {
        first_wait: Duration::from_secs(3600),
        ..impatient()
    };
    let settings = RelaySettings {
        longest_wait: Duration::from_secs(3600),
        ..settings
    };
    let relayed = Relayed::start(true, settings).await;
    relayed.accept(0, 1).await;
    until("the first try", || async {
        relayed.queue.refusals.load(Ordering::SeqCst) == 1
    })
    .await;
    for n in 1..20 {
        relayed.accept(n, 1).await;
    }
    assert_eq!(
        relayed.queue.refusals.load(Ordering::SeqCst),
        1,
        "accepting more does not cut the wait short"
    );
}

#[tokio::test]
async fn entries_of_a_relay_that_died_are_announced_by_another_when_its_lease_ends() {
    let settings = RelaySettings {
        lease: Duration::from_millis(500),
        ..only_when_woken()
    };
    let dead = Relayed::start(true, settings.clone()).await;
    let ids = dead.accept(0, 2).await;
    until("they are claimed", || async {
        dead.queue.refusals.load(Ordering::SeqCst) > 0
    })
    .await;
    dead.task.abort();
    dead.queue.away.store(false, Ordering::SeqCst);

    let settings = RelaySettings {
        poll: Duration::from_millis(20),
        ..settings
    };
    let wake = Arc::new(Notify::new());
    let other = Relay::new(dead.database.clone(), dead.queue.clone(), wake, settings);
    tokio::spawn(other.run(dead.shutdown.clone()));
    assert_eq!(dead.announced(2).await, ids);
    dead.drained().await;
}

#[tokio::test]
async fn a_stopping_relay_publishes_what_is_there() {
    let relayed = Relayed::start(
        false,
        RelaySettings {
            batch: 10,
            ..only_when_woken()
        },
    )
    .await;
    relayed.accept(0, 35).await;
    relayed.shutdown.trigger();
    relayed.task.await.unwrap();
    assert_eq!(relayed.database.outbox().pending().await.unwrap(), 0);
}

#[tokio::test]
async fn a_stopping_relay_does_not_wait_for_a_queue_that_is_away() {
    let relayed = Relayed::start(true, only_when_woken()).await;
    relayed.accept(0, 1).await;
    until("the first try", || async {
        relayed.queue.refusals.load(Ordering::SeqCst) > 0
    })
    .await;
    relayed.shutdown.trigger();
    let ended = tokio::time::timeout(Duration::from_secs(10), relayed.task).await;
    ended.expect("it ends").unwrap();
    assert_eq!(
        relayed.database.outbox().pending().await.unwrap(),
        1,
        "and keeps the entry for the next start"
    );
}

async fn database(folder: &TempDir) -> Database {
    let url = format!("sqlite://{}", folder.path().join("safelight.db").display());
    let database = Database::connect(&url, &Options::default()).await.unwrap();
    database.migrate().await.unwrap();
    database
}

/// The ids of the next messages, each finished.
async fn announced(subscription: &mut Subscription, count: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let delivery = tokio::time::timeout(DEADLINE, subscription.next())
            .await
            .unwrap()
            .unwrap();
        ids.push(decode_id(delivery.body()).unwrap());
        delivery.finish().await.unwrap();
    }
    ids.sort_unstable();
    ids
}

/// Waits until `holds` says so.
async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(DEADLINE, waiting).await.is_ok(),
        "never came: {what}"
    );
}
