//! A fresh database for a test, and a way past the stores to look at it.

use std::time::Duration;

use safelight_database::{
    Accepted, Claim, ClaimOutcome, Database, ImageDetail, NewFace, NewImage, NewMatch, Options, Recognition,
    TaskKind,
};
use safelight_testkit::MariaDb;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Executor as _, MySqlPool, SqlitePool};

/// A lease that no test outlives.
pub(crate) const LONG: Duration = Duration::from_secs(600);
/// How long a test waits for what must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct BackEnd {
    pub(crate) database: Database,
    pub(crate) url: String,
    direct: Direct,
    _file: Option<tempfile::TempDir>,
}

enum Direct {
    MySql(MySqlPool),
    Sqlite(SqlitePool),
}

impl BackEnd {
    pub(crate) async fn mysql() -> BackEnd {
        let back_end = BackEnd::empty_mysql().await;
        back_end.database.migrate().await.unwrap();
        back_end
    }

    pub(crate) async fn sqlite() -> BackEnd {
        let back_end = BackEnd::empty_sqlite().await;
        back_end.database.migrate().await.unwrap();
        back_end
    }

    /// Before any migration.
    pub(crate) async fn empty_mysql() -> BackEnd {
        let url = MariaDb::shared().await.create_database().await;
        let database = Database::connect(&url, &Options::default()).await.unwrap();
        let direct = Direct::MySql(MySqlPool::connect_lazy(&url).unwrap());
        BackEnd {
            database,
            url,
            direct,
            _file: None,
        }
    }

    /// Before any migration.
    pub(crate) async fn empty_sqlite() -> BackEnd {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let url = format!("sqlite://{}", path.display());
        let database = Database::connect(&url, &Options::default()).await.unwrap();
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .busy_timeout(Duration::from_secs(30));
        let direct = Direct::Sqlite(SqlitePool::connect_lazy_with(options));
        BackEnd {
            database,
            url,
            direct,
            _file: Some(directory),
        }
    }

    /// Runs statements past the stores.
    pub(crate) async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.direct {
            Direct::MySql(pool) => drop(pool.execute(sql).await.unwrap()),
            Direct::Sqlite(pool) => drop(pool.execute(sql).await.unwrap()),
        }
    }

    /// A number asked for past the stores.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.direct {
            Direct::MySql(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
            Direct::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.unwrap(),
        }
    }

    /// Texts asked for past the stores.
    pub(crate) async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.direct {
            Direct::MySql(pool) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
            Direct::Sqlite(pool) => sqlx::query_scalar(sql).fetch_all(pool).await.unwrap(),
        }
    }

    /// Lets all leases end and all delays pass.
    pub(crate) async fn make_everything_due(&self) {
        self.execute("UPDATE tasks SET available_at = 1000 WHERE state = 0")
            .await;
    }

    pub(crate) async fn accept(&self, path: &str) -> Accepted {
        self.accept_all([path]).await.remove(0)
    }

    pub(crate) async fn accept_all<S: Into<String>>(
        &self,
        paths: impl IntoIterator<Item = S>,
    ) -> Vec<Accepted> {
        self.database.images().accept(&images(paths)).await.unwrap()
    }

    /// Claims an image that must be there for the taking.
    pub(crate) async fn claim(&self, image_id: i64) -> Claim {
        match self
            .database
            .tasks()
            .claim_subject(image_id, TaskKind::Identify, LONG)
            .await
            .unwrap()
        {
            ClaimOutcome::Claimed(claim) => claim,
            other => panic!("image {image_id} cannot be claimed: {other:?}"),
        }
    }

    pub(crate) async fn image(&self, id: i64) -> ImageDetail {
        self.database.images().get(id).await.unwrap().unwrap()
    }
}

pub(crate) fn images<S: Into<String>>(paths: impl IntoIterator<Item = S>) -> Vec<NewImage> {
    paths
        .into_iter()
        .map(|path| NewImage {
            path: path.into(),
            project: None,
        })
        .collect()
}

/// A picture with these people in it, by name and distance.
pub(crate) fn recognized(people: &[(&str, f32)]) -> Recognition {
    let face = |(name, distance): &(&str, f32)| NewFace {
        left: -3,
        top: 4,
        width: 50,
        height: 60,
        landmarks: vec![(1, 2), (-3, 4)],
        descriptor: vec![0.25, -1.5, *distance],
        person: Some(NewMatch {
            person: (*name).to_owned(),
            sample: format!("{name}_1.jpg"),
            distance: Some(*distance),
        }),
    };
    Recognition {
        width: 640,
        height: 480,
        model: "test".to_owned(),
        model_version: "1".to_owned(),
        faces: people.iter().map(face).collect(),
    }
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asking)
        .await
        .unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}"))
}

/// Runs each case against both back ends.
macro_rules! on_both_back_ends {
    ($($(#[$meta:meta])* async fn $name:ident($back_end:ident: &BackEnd) $body:block)*) => {
        $(
            $(#[$meta])*
            mod $name {
                #[allow(unused_imports)]
                use super::*;

                async fn check($back_end: &$crate::back_end::BackEnd) $body

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_mariadb() {
                    check(&$crate::back_end::BackEnd::mysql().await).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn on_sqlite() {
                    check(&$crate::back_end::BackEnd::sqlite().await).await;
                }
            }
        )*
    };
}

pub(crate) use on_both_back_ends;
