//! A notifier with a database of its own, and jobs to tell of.

use std::path::Path;
use std::time::Duration;

use clap::Parser;
use safelight_database::{Channel, Database, Options};
use safelight_notifier::{Configuration, Notifier, NotifierArgs, run};
use safelight_queue::{Queue, encode_id};
use safelight_service::{Readiness, Shutdown};
use safelight_store::{Key, Store, StoreArgs};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Executor as _, SqlitePool};
use tokio::task::JoinHandle;

/// How long a test waits for what must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) const PUBLIC_URL: &str = "https://safelight.example";

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    notifier: NotifierArgs,
}

/// What a notifier stands on. It is started by [`Road::start`].
pub(crate) struct Road {
    pub(crate) database: Database,
    pub(crate) queue: Queue,
    pub(crate) store: Store,
    pub(crate) folder: tempfile::TempDir,
    direct: SqlitePool,
}

/// A notifier that runs, and ends with this value.
pub(crate) struct Running {
    pub(crate) readiness: Readiness,
    shutdown: Shutdown,
    running: JoinHandle<()>,
}

impl Road {
    pub(crate) async fn new() -> Road {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let url = format!("sqlite://{}", path.display());
        let database = Database::connect(&url, &Options::default()).await.unwrap();
        database.migrate().await.unwrap();
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(Duration::from_secs(30));
        let store = Store::open(&StoreArgs::of_folder(&folder.path().join("store"))).unwrap();
        Road {
            queue: Queue::embedded(database.embedded_queue().unwrap()),
            direct: SqlitePool::connect_lazy_with(options),
            database,
            store,
            folder,
        }
    }

    pub(crate) fn database_url(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("test.db").display())
    }

    /// Runs statements past the stores.
    pub(crate) async fn execute(&self, sql: &str) {
        self.direct.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::query_scalar(sql).fetch_one(&self.direct).await.unwrap()
    }

    /// The state, the tries and the reason of a notification.
    pub(crate) async fn notification(&self, id: i64) -> (i64, i64, Option<String>) {
        let sql = "SELECT state, tries, reason FROM notifications WHERE id = ?";
        sqlx::query_as(sql)
            .bind(id)
            .fetch_one(&self.direct)
            .await
            .unwrap()
    }

    /// A joined job of one picture with its small thumbnail, and its notification, whose id this gives. No message
    /// tells of it.
    pub(crate) async fn job(&self, name: &str, channel: Channel, recipient: &str) -> i64 {
        let mut direct = self.direct.acquire().await.unwrap();
        let mut id = async |sql: &str, texts: &[&str], numbers: &[i64]| {
            let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
            for text in texts {
                query = query.bind((*text).to_owned());
            }
            for number in numbers {
                query = query.bind(*number);
            }
            query.execute(&mut *direct).await.unwrap().last_insert_rowid()
        };
        let batch = id(
            "INSERT INTO batches (sealed_at, joined_at) VALUES (1, 2)",
            &[],
            &[],
        )
        .await;
        let image = id(
            "INSERT INTO images (name, path, status, batch_id) VALUES (?, ?, 1, ?)",
            &[name, &format!("/input/{batch}")],
            &[batch],
        )
        .await;
        let key: Key = format!("output/{image}/cat_t.png").parse().unwrap();
        self.store.put_once(&key, b"a small picture").unwrap();
        id(
            "INSERT INTO outputs (role, uri, content_type, image_id, width, height, bytes, content_hash) \
             VALUES ('thumbnail-small', ?, 'image/png', ?, 120, 80, 15, x'00')",
            &[&self.store.uri(&key)],
            &[image],
        )
        .await;
        id(
            "INSERT INTO notifications (channel, recipient, batch_id, recipient_hash, message_key) \
             VALUES (?1, ?2, ?3, CAST(?2 AS BLOB), randomblob(16))",
            &[channel.as_str(), recipient],
            &[batch],
        )
        .await
    }

    /// Puts the message of a notification on the queue.
    pub(crate) async fn announce(&self, channel: Channel, notification: i64) {
        self.queue
            .publish(channel.topic(), &[encode_id(notification)])
            .await
            .unwrap();
    }

    /// What these flags come to, beside those that every test has.
    pub(crate) fn configuration(&self, flags: &[&str]) -> Configuration {
        let always = [
            "notifier",
            "--public-url",
            PUBLIC_URL,
            "--mail-from",
            "Safelight <noreply@safelight.example>",
        ];
        let arguments = Arguments::try_parse_from(always.iter().chain(flags)).unwrap();
        let mut configuration = arguments.notifier.configuration().unwrap();
        configuration.settings.sweep_interval = Duration::from_millis(50);
        configuration.settings.sweep_overdue = Duration::ZERO;
        configuration.settings.wait_delay = Duration::from_millis(50);
        configuration
    }

    pub(crate) fn start(&self, configuration: Configuration) -> Running {
        let shutdown = Shutdown::new();
        let readiness = Readiness::new(shutdown.clone());
        let notifier = Notifier {
            database: self.database.clone(),
            queue: self.queue.clone(),
            store: Some(self.store.clone()),
            configuration,
        };
        let running = run(notifier, readiness.clone(), shutdown.clone());
        Running {
            readiness,
            shutdown,
            running: tokio::spawn(async move { running.await.unwrap() }),
        }
    }

    /// Starts one that sends to this server.
    pub(crate) fn start_with(&self, smtp_url: &str, authority: Option<&Path>) -> Running {
        let authority = authority.map(|path| path.display().to_string());
        let mut flags = vec!["--smtp-url", smtp_url];
        if let Some(path) = &authority {
            flags.extend(["--smtp-ca-file", path]);
        }
        self.start(self.configuration(&flags))
    }

    /// Waits until a notification has ended, and gives its state, its tries and its reason.
    pub(crate) async fn ended(&self, id: i64) -> (i64, i64, Option<String>) {
        eventually("the notification ends", async || {
            let found = self.notification(id).await;
            (found.0 != 0).then_some(found)
        })
        .await
    }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        self.running.await.unwrap();
    }
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking)
        .await
        .unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}
