use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::run;

/// A database in a file.
struct Records {
    folder: tempfile::TempDir,
    pool: SqlitePool,
}

// === impl Records ===

impl Records {
    /// Of three failed tasks of three images, and one of a fault that time does not heal.
    async fn with_failed_tasks() -> Records {
        let records = Records::empty().await;
        assert_eq!(run(&["migrate", "--database-url", &records.url()]).await.code, 0);
        for (id, kind, fault, reason) in [
            (1, "thumbnail", "'storage'", "the store is away"),
            (2, "thumbnail", "'storage'", "the store is away"),
            (3, "gif", "'timeout'", "took too long"),
            (4, "gif", "'bad'", "not a film"),
            (5, "identify", "NULL", "the disk was full"),
        ] {
            let image = format!(
                "INSERT INTO images (id, path, status, reason) VALUES ({id}, '/{id}', 2, '{reason}')"
            );
            records.execute(&image).await;
            records
                .execute(&format!(
                    "INSERT INTO tasks (image_id, kind, state, fault, reason, ended_at) \
                     VALUES ({id}, '{kind}', 2, {fault}, '{reason}', (unixepoch() - 3600) * 1000)"
                ))
                .await;
        }
        records
    }

    async fn empty() -> Records {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("records.db"))
            .create_if_missing(true);
        Records {
            folder,
            pool: SqlitePool::connect_lazy_with(options),
        }
    }

    fn url(&self) -> String {
        format!("sqlite://{}/records.db", self.folder.path().display())
    }

    async fn execute(&self, sql: &str) {
        self.pool.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    /// The images that are pending.
    async fn pending(&self) -> Vec<i64> {
        sqlx::query_scalar("SELECT id FROM images WHERE status = 0 ORDER BY id")
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    async fn redeem(&self, more: &[&str]) -> crate::Outcome {
        let url = self.url();
        let mut arguments = vec!["redeem", "--database-url", &url];
        arguments.extend(more);
        run(&arguments).await
    }
}

#[tokio::test]
async fn what_time_may_heal_is_put_back_and_the_rest_stays_failed() {
    let records = Records::with_failed_tasks().await;
    let outcome = records.redeem(&[]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.errors);
    let (last, table) = outcome.lines.split_last().unwrap();
    assert_eq!(
        table,
        [
            "tasks  kind       fault    reason",
            "-----  ---------  -------  -----------------",
            "    2  thumbnail  storage  the store is away",
            "    1  gif        timeout  took too long",
        ]
    );
    assert!(
        last.starts_with("redeem: 3 tasks of 3 images put back, 0 jobs to be told of again, "),
        "{last}"
    );
    assert_eq!(records.pending().await, [1, 2, 3]);
}

#[tokio::test]
async fn a_dry_run_shows_the_same_and_changes_nothing() {
    let records = Records::with_failed_tasks().await;
    let dry = records.redeem(&["--dry-run"]).await;
    assert_eq!(dry.code, 0, "{}", dry.errors);
    assert!(
        dry.last()
            .starts_with("redeem: 3 tasks of 3 images would be put back, "),
        "{}",
        dry.last()
    );
    assert_eq!(records.pending().await, [0; 0]);
    let wet = records.redeem(&[]).await;
    assert_eq!(dry.lines[..4], wet.lines[..4]);
}

#[tokio::test]
async fn the_filters_narrow_what_is_put_back() {
    let records = Records::with_failed_tasks().await;
    for (filters, pending) in [
        (&["--older", "2h"][..], &[][..]),
        (&["--younger", "30m"], &[]),
        (&["--kind", "frame,gif", "--fault", "storage"], &[]),
        (&["--limit", "1"], &[1]),
        (&["--reason", "DISK"], &[1, 5]),
        (&["--fault", "bad", "--reason", "film"], &[1, 4, 5]),
    ] {
        let outcome = records.redeem(filters).await;
        assert_eq!(outcome.code, 0, "{filters:?}: {}", outcome.errors);
        assert_eq!(records.pending().await, pending, "{filters:?}");
    }
}

#[tokio::test]
async fn json_says_what_was_put_back() {
    let records = Records::with_failed_tasks().await;
    let objects = records.redeem(&["--json"]).await.json();
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["tasks"], 3);
    assert_eq!(objects[0]["dry_run"], false);
    assert_eq!(objects[0]["groups"][0]["kind"], "thumbnail");
    assert_eq!(objects[0]["groups"][0]["tasks"], 2);
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_told_by_the_exit_status() {
    let outcome = Records::empty().await.redeem(&[]).await;
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.errors.contains("run the migrations"),
        "{}",
        outcome.errors
    );
    assert_eq!(run(&["redeem"]).await.code, 78);
    let records = Records::with_failed_tasks().await;
    let outcome = records.redeem(&["--older", "5 minutes"]).await;
    assert_eq!(outcome.code, 78);
    assert!(outcome.errors.contains("1h30m"), "{}", outcome.errors);
    assert_eq!(
        records.redeem(&["--older", "2d", "--younger", "1d"]).await.code,
        78
    );
    assert_eq!(records.redeem(&["--fault", "cosmic"]).await.code, 78);
}
