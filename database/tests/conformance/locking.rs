//! What a claim reads and locks on MariaDB, asked of the server while the claim is under way.

use std::time::Duration;

use safelight_database::{Accepted, Database, Options, TaskKind};
use safelight_testkit::MariaDb;
use sqlx::mysql::MySqlPool;
use sqlx::{AssertSqlSafe, Row as _};

use crate::back_end::{BackEnd, LONG, eventually, images};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_of_what_was_begun_locks_about_as_many_rows_as_it_takes() {
    let back_end = BackEnd::mysql().await;
    let accepted = back_end
        .accept_all((0..1_500).map(|number| format!("/{number}.jpg")))
        .await;
    let (leased, due) = accepted.split_at(500);
    back_end
        .execute(&format!(
            "UPDATE tasks SET lane = 2, available_at = 1000 + id WHERE image_id >= {}",
            due[0].id
        ))
        .await;
    back_end
        .execute(&format!(
            "UPDATE tasks SET lane = 2, available_at = 4102444800000 WHERE image_id <= {}",
            leased[leased.len() - 1].id
        ))
        .await;
    locks_what_it_takes(&back_end, due).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_in_turn_locks_about_as_many_rows_as_it_takes() {
    let back_end = BackEnd::mysql().await;
    let accepted = back_end
        .accept_all((0..1_000).map(|number| format!("/{number}.jpg")))
        .await;
    locks_what_it_takes(&back_end, &accepted).await;
}

/// 1,000 due tasks, of which the first images are held by somebody, so that a claim stops after it has
/// locked its tasks and before it has written them. The rest is left to others.
async fn locks_what_it_takes(back_end: &BackEnd, due: &[Accepted]) {
    let pool = MySqlPool::connect(&back_end.url).await.unwrap();
    let mut holder = pool.begin().await.unwrap();
    let hold = "SELECT id FROM images WHERE id = ? FOR UPDATE";
    sqlx::query(hold)
        .bind(due[0].id)
        .execute(&mut *holder)
        .await
        .unwrap();

    let tasks = back_end.database.tasks();
    let first = tokio::spawn(async move {
        tasks
            .claim_due(TaskKind::Identify, 10, Duration::ZERO, LONG)
            .await
    });
    let locked: i64 = eventually("the claim waits for the image", async || {
        // The server renews what this table shows only after nobody has asked for a tenth of a second.
        tokio::time::sleep(Duration::from_millis(150)).await;
        sqlx::query_scalar(
            "SELECT CAST(trx_rows_locked AS SIGNED) FROM information_schema.innodb_trx \
             JOIN information_schema.processlist ON processlist.id = trx_mysql_thread_id \
             WHERE trx_state = 'LOCK WAIT' AND db = DATABASE()",
        )
        .fetch_optional(&pool)
        .await
        .unwrap()
    })
    .await;
    // Ten entries of the index, ten rows, and the image that it waits for.
    assert!(
        (20..=25).contains(&locked),
        "{locked} rows are locked for a claim of 10"
    );

    let tasks = back_end.database.tasks();
    let second = tasks
        .claim_due(TaskKind::Identify, 10, Duration::ZERO, LONG)
        .await
        .unwrap();
    let taken: Vec<_> = second.claims.iter().map(|claim| claim.image_id).collect();
    assert_eq!(
        taken,
        due[10..20].iter().map(|image| image.id).collect::<Vec<_>>()
    );

    holder.rollback().await.unwrap();
    let first = first.await.unwrap().unwrap();
    let taken: Vec<_> = first.claims.iter().map(|claim| claim.image_id).collect();
    assert_eq!(taken, due[..10].iter().map(|image| image.id).collect::<Vec<_>>());
}

/// The statement itself comes from the server's log, so that it is the one that the claim sends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_reads_one_index_in_its_order_and_sorts_nothing() {
    let server = MariaDb::start().await;
    let url = server.create_database().await;
    let database = Database::connect(&url, &Options::default()).await.unwrap();
    database.migrate().await.unwrap();
    database
        .images()
        .accept(&images((0..1_000).map(|number| format!("/{number}.jpg"))))
        .await
        .unwrap();

    server
        .execute("SET GLOBAL log_output = 'TABLE', GLOBAL long_query_time = 0, GLOBAL slow_query_log = 1")
        .await;
    // The settings hold for connections made after them.
    let watched = Database::connect(&url, &Options::default()).await.unwrap();
    let claimed = watched
        .tasks()
        .claim_due(TaskKind::Identify, 10, Duration::ZERO, LONG)
        .await
        .unwrap();
    assert_eq!(claimed.claims.len(), 10);

    let pool = MySqlPool::connect(&url).await.unwrap();
    let statements: Vec<(String, i64)> = sqlx::query_as(
        "SELECT CONVERT(sql_text USING utf8mb4), CAST(rows_examined AS SIGNED) FROM mysql.slow_log \
         WHERE sql_text LIKE 'SELECT id, image_id%SKIP LOCKED' ORDER BY start_time",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut indexes = Vec::new();
    for (statement, examined) in statements {
        assert!(examined <= 10, "{examined} rows were read for a claim of 10");
        let plan = sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN {statement}")))
            .fetch_one(&pool)
            .await
            .unwrap();
        indexes.push(plan.get::<String, _>("key"));
        let extra: String = plan.get("Extra");
        assert!(
            !extra.contains("filesort") && !extra.contains("temporary"),
            "{statement}: {extra}"
        );
    }
    assert_eq!(indexes, ["tasks_lane", "tasks_turn"]);

    let scans: Vec<String> = sqlx::query_scalar(
        "SELECT CONVERT(sql_text USING utf8mb4) FROM mysql.slow_log \
         WHERE rows_examined > 50 AND sql_text NOT LIKE '%slow_log%'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(
        scans, [""; 0],
        "statements of a claim of 10 that read more than the claim"
    );
}
