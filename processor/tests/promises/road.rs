//! A processor on an embedded database and queue.

use std::time::Duration;

use bytes::Bytes;
use safelight_database::{
    Claim, ClaimOutcome, Database, Fault, ImageDetail, NewImage, Options, Status, TaskKind,
};
use safelight_mesh::{Availability, Probe, Settings as MeshSettings, Target};
use safelight_processor::{Processor, RecognizerApi, Settings, run};
use safelight_queue::{Queue, TOPIC_IMAGES, encode_id};
use safelight_service::{Readiness, Shutdown};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::DEADLINE;
use crate::scripted::Scripted;

pub struct Road {
    pub recognizer: Scripted,
    database: Database,
    queue: Queue,
    readiness: Readiness,
    shutdown: Shutdown,
    processor: Option<JoinHandle<()>>,
    availability: watch::Receiver<Availability>,
    max_tries: u32,
    _folder: TempDir,
}

/// What [`Road::eventually`] waits for.
pub trait Found {
    type Value;
    fn found(self) -> Option<Self::Value>;
}

impl<T> Found for Option<T> {
    type Value = T;
    fn found(self) -> Option<T> {
        self
    }
}

impl Found for bool {
    type Value = ();
    fn found(self) -> Option<()> {
        self.then_some(())
    }
}

fn image(path: &str) -> NewImage {
    NewImage {
        path: path.to_owned(),
        project: None,
    }
}

impl Road {
    /// A processor whose recognizer is not running yet.
    pub async fn begin() -> Self {
        Self::with(|_| {}).await
    }

    /// One with other settings.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        let database = Database::connect(&url, &Options::default()).await.unwrap();
        database.migrate().await.unwrap();
        let queue = Queue::embedded(database.embedded_queue().unwrap());
        let recognizer = Scripted::new();
        let mesh = MeshSettings {
            open_first: Duration::from_millis(100),
            probe_interval: Duration::from_millis(100),
            ..MeshSettings::default()
        };
        let target = Target::builder("recognizer", recognizer.uri())
            .settings(mesh)
            .probe(Probe::Connect);
        let mut settings = Settings {
            sweep_interval: Duration::from_millis(50),
            sweep_overdue: Duration::from_millis(200),
            retry_delay: Duration::from_millis(10),
            wait_delay: Duration::from_millis(50),
            drain: Duration::from_millis(200),
            max_tries: 3,
            ..Settings::default()
        };
        change(&mut settings);
        let max_tries = settings.max_tries;
        let target = target.connect().unwrap();
        let availability = target.availability();
        let processor = Processor {
            database: database.clone(),
            queue: queue.clone(),
            recognizer: target,
            recognizer_api: RecognizerApi::Safelight,
            transformer: None,
            settings,
        };
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        let (ready, stop) = (readiness.clone(), shutdown.clone());
        let running = tokio::spawn(async move { run(processor, ready, stop).await.unwrap() });
        Self {
            recognizer,
            database,
            queue,
            readiness,
            shutdown,
            processor: Some(running),
            availability,
            max_tries,
            _folder: folder,
        }
    }

    pub fn max_tries(&self) -> u32 {
        self.max_tries
    }

    pub fn ready(&self) -> Result<(), String> {
        self.readiness.state()
    }

    pub fn recognizer_is_available(&self) -> bool {
        self.availability.borrow().is_available()
    }

    /// Records images and announces them.
    pub async fn accept<const N: usize>(&self, paths: [&str; N]) -> Vec<i64> {
        let ids = self.record(&paths.map(image)).await;
        self.announce(&ids).await;
        ids
    }

    /// As many images of a project.
    pub async fn accept_of(&self, project: &str, count: usize) -> Vec<i64> {
        let image = |number| NewImage {
            path: format!("/{project}/{number}.jpg"),
            project: Some(project.to_owned()),
        };
        let ids = self.record(&(0..count).map(image).collect::<Vec<_>>()).await;
        self.announce(&ids).await;
        ids
    }

    /// Records an image. The processor's relay may announce it.
    pub async fn record_one(&self, path: &str) -> Vec<i64> {
        self.record(&[image(path)]).await
    }

    async fn record(&self, images: &[NewImage]) -> Vec<i64> {
        let accepted = self.database.images().accept(images).await.unwrap();
        accepted.iter().map(|accepted| accepted.id).collect()
    }

    pub async fn announce(&self, ids: &[i64]) {
        let bodies: Vec<Bytes> = ids.iter().map(|id| encode_id(*id)).collect();
        self.queue.publish(TOPIC_IMAGES, &bodies).await.unwrap();
    }

    /// Records an image whose message is lost: taken out of the outbox before the processor's relay has seen it. Where the
    /// relay was quicker, another image is recorded.
    pub async fn accept_without_a_message(&self, path: &str) -> i64 {
        for attempt in 0.. {
            let image = NewImage {
                path: format!("{path}?{attempt}"),
                project: None,
            };
            let id = self.database.images().accept(&[image]).await.unwrap()[0].id;
            let entries = self.database.outbox().claim(100, DEADLINE).await.unwrap();
            if entries.iter().any(|entry| entry.body == id.to_le_bytes()) {
                return id;
            }
        }
        unreachable!("there is always another attempt")
    }

    pub async fn publish(&self, bodies: &[Vec<u8>]) {
        let bodies: Vec<Bytes> = bodies.iter().map(|body| Bytes::copy_from_slice(body)).collect();
        self.queue.publish(TOPIC_IMAGES, &bodies).await.unwrap();
    }

    pub async fn queue_is_empty(&self) -> bool {
        self.next_message().await.is_none()
    }

    /// How long until the next message comes, if there is one.
    pub async fn next_message(&self) -> Option<Duration> {
        let table = self.database.embedded_queue().unwrap();
        table.next_due(TOPIC_IMAGES).await.unwrap()
    }

    pub async fn image(&self, id: i64) -> ImageDetail {
        self.database.images().get(id).await.unwrap().unwrap()
    }

    pub async fn wait_until_final(&self, id: i64) -> ImageDetail {
        self.eventually("the image has its final state", async |road| {
            let image = road.image(id).await;
            matches!(image.image.status, Status::Processed | Status::Failed).then_some(image)
        })
        .await
    }

    pub async fn claim(&self, id: i64) -> Claim {
        self.claim_for(id, DEADLINE).await
    }

    /// Fails what was claimed.
    pub async fn fail(&self, claim: &Claim) {
        let tasks = self.database.tasks();
        tasks.fail(claim, Fault::Bad, "it is bad").await.unwrap();
    }

    pub async fn claim_for(&self, id: i64, lease: Duration) -> Claim {
        let claimed = self
            .database
            .tasks()
            .claim_subject(id, TaskKind::Identify, lease)
            .await
            .unwrap();
        match claimed {
            ClaimOutcome::Claimed(claim) => claim,
            other => panic!("{other:?}"),
        }
    }

    pub async fn eventually<F: Found>(
        &self,
        what: &str,
        mut condition: impl AsyncFnMut(&Road) -> F,
    ) -> F::Value {
        let give_up = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = condition(self).await.found() {
                return found;
            }
            assert!(Instant::now() < give_up, "{what}: not within {DEADLINE:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The word to stop, and the end of it.
    pub async fn stop(&mut self) {
        self.shutdown.trigger();
        self.processor.take().unwrap().await.unwrap();
    }
}
