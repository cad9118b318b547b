use safelight_database::{Database, Options};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::{Outcome, run};

/// A database in a file, with a mail that was sent, one that was given up, and a webhook whose address is closed.
struct Records {
    folder: tempfile::TempDir,
    pool: SqlitePool,
}

impl Records {
    async fn new() -> Records {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("records.db");
        let url = format!("sqlite://{}", path.display());
        let database = Database::connect(&url, &Options::default()).await.unwrap();
        database.migrate().await.unwrap();
        let records = Records {
            pool: SqlitePool::connect_lazy_with(SqliteConnectOptions::new().filename(path)),
            folder,
        };
        records
            .execute("INSERT INTO batches (id, sealed_at, joined_at) VALUES (5, 1, 2), (6, 1, 2)")
            .await;
        for (id, job, channel, recipient, state, reason) in [
            (1, 5, "mail", "a@example.org", 1, "NULL"),
            (2, 6, "mail", "b@example.org", 2, "'no such user'"),
            (
                3,
                5,
                "webhook",
                "https://c.example/",
                2,
                "'the address asked not to be called again'",
            ),
        ] {
            let row = format!(
                "INSERT INTO notifications (id, batch_id, channel, recipient, recipient_hash, message_key, state, reason, \
                 tries, ended_at) VALUES ({id}, {job}, '{channel}', '{recipient}', x'0{id}', x'0{id}', {state}, {reason}, 4, 9)"
            );
            records.execute(&row).await;
        }
        let closed = "INSERT INTO webhook_endpoints (url_hash, url, disabled_at) VALUES (x'03', 'https://c.example/', 1)";
        records.execute(closed).await;
        records
    }

    async fn execute(&self, sql: &str) {
        self.pool.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    async fn notify(&self, command: &str, more: &[&str]) -> Outcome {
        let url = format!("sqlite://{}/records.db", self.folder.path().display());
        let mut arguments = vec!["notify", command, "--database-url", &url];
        arguments.extend(more);
        run(&arguments).await
    }

    /// Those that are to be sent: their numbers, tries and keys, and what lies in the outbox.
    async fn to_be_sent(&self) -> (Vec<(i64, i64, Vec<u8>)>, Vec<(String, i64)>) {
        let ready = "SELECT id, tries, message_key FROM notifications WHERE state = 0 ORDER BY id";
        let ready = sqlx::query_as(ready).fetch_all(&self.pool).await.unwrap();
        let outbox = "SELECT topic, subject FROM outbox ORDER BY subject";
        (ready, sqlx::query_as(outbox).fetch_all(&self.pool).await.unwrap())
    }
}

#[tokio::test]
async fn what_was_told_is_listed_the_newest_first() {
    let records = Records::new().await;
    let listed = records.notify("list", &[]).await;
    assert_eq!(listed.code, 0, "{}", listed.errors);
    assert_eq!(
        listed.lines,
        [
            "id  job  channel  state           tries  recipient           reason",
            " 3    5  webhook  failed, closed      4  https://c.example/  the address asked not to be called again",
            " 2    6  mail     failed              4  b@example.org       no such user",
            " 1    5  mail     sent                4  a@example.org",
        ]
    );
    for (filters, lines) in [
        (&["--state", "sent"][..], 2),
        (&["--state", "sent,failed", "--channel", "mail"], 3),
        (&["--state", "ready"], 1),
        (&["--job", "5"], 3),
        (&["--limit", "1"], 2),
    ] {
        assert_eq!(
            records.notify("list", filters).await.lines.len(),
            lines,
            "{filters:?}"
        );
    }
    let objects = records
        .notify("list", &["--json", "--state", "failed"])
        .await
        .json();
    assert_eq!(objects.len(), 2);
    assert_eq!(
        (&objects[0]["id"], &objects[0]["disabled"]),
        (&3.into(), &true.into())
    );
    assert_eq!(objects[1]["reason"], "no such user");
    assert_eq!(records.notify("list", &["--state", "lost"]).await.code, 78);
}

#[tokio::test]
async fn what_was_sent_or_given_up_is_sent_again_as_the_same_message() {
    let records = Records::new().await;
    let resent = records.notify("resend", &["1", "2", "2"]).await;
    assert_eq!(resent.code, 0, "{}", resent.errors);
    assert_eq!(
        resent.lines,
        [
            "1: is sent again",
            "2: is sent again",
            "2: waits to be sent as it is",
            "notify: 3 to be sent, 0 not",
        ]
    );
    let (ready, outbox) = records.to_be_sent().await;
    assert_eq!(ready, [(1, 0, vec![1]), (2, 0, vec![2])]);
    assert_eq!(outbox, [("mail".to_owned(), 1), ("mail".to_owned(), 2)]);
}

#[tokio::test]
async fn an_address_that_is_closed_is_called_again_only_where_that_is_asked_for() {
    let records = Records::new().await;
    let refused = records.notify("resend", &["3", "4711"]).await;
    assert_eq!(refused.code, 2, "{}", refused.errors);
    assert!(refused.lines[0].contains("--enable"), "{:?}", refused.lines);
    assert!(refused.lines[1].contains("no such number"), "{:?}", refused.lines);
    assert_eq!(records.to_be_sent().await.0, []);

    let resent = records.notify("resend", &["3", "--enable"]).await;
    assert_eq!((resent.code, resent.lines[0].as_str()), (0, "3: is sent again"));
    assert_eq!(records.to_be_sent().await.0, [(3, 0, vec![3])]);
    let closed = records.notify("list", &["--channel", "webhook"]).await;
    assert!(!closed.lines[1].contains("closed"), "{:?}", closed.lines);
}

#[tokio::test]
async fn a_new_secret_is_printed_alone_and_one_of_an_address_is_made_of_it() {
    let new = run(&["webhook-secret"]).await;
    assert_eq!((new.code, new.lines.len()), (0, 1), "{}", new.errors);
    assert!(new.lines[0].starts_with("whsec_"), "{:?}", new.lines);
    assert!(new.errors.contains("WEBHOOK_SECRETS=NEW,OLD"), "{}", new.errors);

    let ask = async |secrets: &str, url| run(&["webhook-secret", url, "--webhook-secrets", secrets]).await;
    let of_a = ask(&new.lines[0], "https://a.example/").await;
    assert_eq!((of_a.code, of_a.lines.len()), (0, 1), "{}", of_a.errors);
    assert_ne!(of_a.lines, new.lines);
    assert_ne!(of_a.lines, ask(&new.lines[0], "https://b.example/").await.lines);
    assert_eq!(run(&["webhook-secret", "https://a.example/"]).await.code, 78);
    assert_eq!(ask("nonsense", "https://a.example/").await.code, 78);
}
