use safelight_database::{Database, Error, Options};

use crate::back_end::BackEnd;

async fn empty_back_ends() -> [BackEnd; 2] {
    [BackEnd::empty_mysql().await, BackEnd::empty_sqlite().await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_programs_may_migrate_at_once() {
    for back_end in empty_back_ends().await {
        let programs: Vec<_> = (0..6)
            .map(|_| {
                let url = back_end.url.clone();
                tokio::spawn(async move {
                    let database = Database::connect(&url, &Options::default()).await.unwrap();
                    database.migrate().await.unwrap();
                    database.ping().await.unwrap();
                })
            })
            .collect();
        for program in programs {
            program.await.unwrap();
        }
        back_end.accept("/a.jpg").await;
        back_end.database.migrate().await.unwrap();
        assert_eq!(back_end.number("SELECT COUNT(*) FROM images").await, 1);
    }
}

#[tokio::test]
async fn a_database_that_was_never_migrated_is_outdated() {
    for back_end in empty_back_ends().await {
        let answer = back_end.database.ping().await;
        assert!(
            matches!(
                answer,
                Err(Error::SchemaOutdated {
                    found: 0,
                    wanted: 1..
                })
            ),
            "{answer:?}"
        );
        back_end.database.migrate().await.unwrap();
        back_end.database.ping().await.unwrap();
    }
}

#[tokio::test]
async fn a_newer_schema_is_good_enough() {
    for back_end in [BackEnd::mysql().await, BackEnd::sqlite().await] {
        back_end
            .execute(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 VALUES (9999, 'of a later program', TRUE, 'x', 1)",
            )
            .await;
        back_end.database.ping().await.unwrap();
        back_end.database.migrate().await.unwrap();
    }
}

/// MySQL commits each statement of a migration by itself, and the program may die after any of them.
#[tokio::test]
async fn a_migration_that_was_cut_off_is_repeated() {
    let back_end = BackEnd::mysql().await;
    back_end
        .execute("UPDATE _sqlx_migrations SET success = FALSE")
        .await;
    back_end.execute("DROP TABLE outbox").await;
    let answer = back_end.database.ping().await;
    assert!(
        matches!(answer, Err(Error::SchemaOutdated { found: 0, .. })),
        "{answer:?}"
    );
    back_end.database.migrate().await.unwrap();
    back_end.database.ping().await.unwrap();
    back_end.accept("/a.jpg").await;
}

/// What differs on purpose: a path is too long for a key of MySQL, and SQLite holds the embedded queue.
#[tokio::test]
async fn both_migrations_give_the_same_tables_and_columns() {
    let mysql = BackEnd::mysql().await;
    let columns = "SELECT CONCAT(table_name, '.', column_name, IF(is_nullable = 'YES', ' NULL', '')) \
                   FROM information_schema.columns WHERE table_schema = DATABASE() \
                   AND table_name <> '_sqlx_migrations' AND column_name <> 'path_hash'";
    let in_mysql = mysql.texts(columns).await;

    let sqlite = BackEnd::sqlite().await;
    let columns = "SELECT tables.name || '.' || columns.name || iif(columns.\"notnull\", '', ' NULL') \
                   FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns \
                   WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite_%' \
                   AND tables.name NOT IN ('_sqlx_migrations', 'queue_messages')";
    let in_sqlite = sqlite.texts(columns).await;
    assert_eq!(sorted(in_mysql.clone()), sorted(in_sqlite));
    assert!(in_mysql.contains(&"images.path".to_owned()));

    let keys = "SELECT CONCAT(table_name, ' ', GROUP_CONCAT(column_name ORDER BY seq_in_index), \
                IF(non_unique, '', ' unique')) FROM information_schema.statistics \
                WHERE table_schema = DATABASE() AND index_name <> 'PRIMARY' AND column_name <> 'path_hash' \
                GROUP BY table_name, index_name, non_unique";
    let in_mysql = mysql.texts(keys).await;
    let keys = "SELECT tables.name || ' ' || (SELECT group_concat(name) FROM pragma_index_info(keys.name)) \
                || iif(keys.\"unique\", ' unique', '') \
                FROM sqlite_schema AS tables, pragma_index_list(tables.name) AS keys \
                WHERE tables.type = 'table' AND keys.origin = 'c' \
                AND tables.name NOT IN ('_sqlx_migrations', 'queue_messages') \
                AND keys.name <> 'images_path'";
    assert_eq!(sorted(in_mysql), sorted(sqlite.texts(keys).await));
}

/// In one order: each database has its own.
fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort_unstable();
    texts
}
