use std::time::Duration;

use safelight_database::{Database, Error, Options};
use safelight_testkit::MariaDb;
use tokio::time::Instant;

use crate::back_end::{DEADLINE, LONG, eventually, images};

fn impatient() -> Options {
    Options {
        max_connections: 4,
        acquire_timeout: Duration::from_secs(2),
        operation_timeout: Duration::from_secs(2),
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_refused_without_telling_the_password() {
    for url in [
        "",
        "postgres://u:secret@h/d",
        "mysql://u:secret@h",
        "mysql://u:secret@h:x/d",
        "sqlite::memory:",
    ] {
        let refused = Database::connect(url, &impatient()).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{url}: {refused:?}");
        assert!(!refused.unwrap_err().to_string().contains("secret"), "{url}");
    }
}

#[tokio::test]
async fn a_refused_login_is_told_from_a_server_that_is_away() {
    let server = MariaDb::shared().await;
    let address = server.address();
    let wrong = [
        format!("mysql://nobody:x@{address}/mysql"),
        format!("mysql://root@{address}/nowhere"),
    ];
    for url in wrong {
        let refused = Database::connect(&url, &impatient()).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{url}: {refused:?}");
    }
    let free = safelight_testkit::free_port();
    let away = Database::connect(&format!("mysql://root@127.0.0.1:{free}/d"), &impatient()).await;
    assert!(matches!(away, Err(Error::Unavailable(_))), "{away:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_is_unavailable_and_what_it_accepted_is_there_when_it_is_back() {
    let server = MariaDb::start().await;
    let url = server.create_database().await;
    let database = Database::connect(&url, &impatient()).await.unwrap();
    database.migrate().await.unwrap();

    let mut accepted = 0;
    for number in 0..20 {
        database
            .images()
            .accept(&images([format!("/before-{number}.jpg")]))
            .await
            .unwrap();
        accepted += 1;
    }
    server.kill();
    for number in 0..2 {
        let answer = database
            .images()
            .accept(&images([format!("/while-{number}.jpg")]))
            .await;
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    }
    server.restart().await;
    eventually("the database is back", async || database.ping().await.ok()).await;
    assert_eq!(database.images().counts().await.unwrap().pending, accepted);
    assert_eq!(
        database.outbox().claim(100, LONG).await.unwrap().len() as u64,
        accepted
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_answers_no_more_costs_one_timeout_and_no_connection() {
    let server = MariaDb::start().await;
    let url = server.create_database().await;
    let database = Database::connect(&url, &impatient()).await.unwrap();
    database.migrate().await.unwrap();

    server.freeze();
    let asked = Instant::now();
    let calls: Vec<_> = (0..8)
        .map(|number| {
            let given = images([format!("/{number}.jpg")]);
            let images = database.images();
            tokio::spawn(async move { images.accept(&given).await })
        })
        .collect();
    for call in calls {
        let answer = call.await.unwrap();
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    }
    assert!(asked.elapsed() < DEADLINE / 3, "{:?}", asked.elapsed());

    server.thaw();
    eventually("the database is back", async || database.ping().await.ok()).await;
    let given = images((0..8).map(|number| format!("/{number}.jpg")));
    let accepted = database.images().accept(&given).await.unwrap();
    assert_eq!(accepted.len(), 8);
    let tasks: Vec<_> = database.outbox().claim(100, LONG).await.unwrap();
    assert_eq!(
        tasks.len(),
        8,
        "one message an image, whether or not its first call was committed"
    );
}

#[tokio::test]
async fn a_closed_database_is_unavailable() {
    for back_end in [
        crate::back_end::BackEnd::mysql().await,
        crate::back_end::BackEnd::sqlite().await,
    ] {
        back_end.database.close().await;
        let answer = back_end.database.images().accept(&images(["/a.jpg"])).await;
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn a_program_that_starts_before_its_database_goes_on_when_that_is_there() {
    let server = MariaDb::start().await;
    let url = server.create_database().await;
    server.kill();
    let database = Database::open(&url, &impatient()).await.unwrap();
    assert!(database.migrate().await.unwrap_err().is_unavailable());
    server.restart().await;
    database.migrate().await.unwrap();
    database.ping().await.unwrap();
}

/// The variables of a deployment, as flags.
#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    database: safelight_database::DatabaseArgs,
}

fn arguments(given: &[&str]) -> Result<safelight_database::DatabaseArgs, clap::Error> {
    let given = ["program"].iter().chain(given);
    <Arguments as clap::Parser>::try_parse_from(given).map(|arguments| arguments.database)
}

#[tokio::test]
async fn a_login_given_in_parts_may_hold_any_character() {
    let server = MariaDb::shared().await;
    server
        .execute(
            "CREATE USER 'app name'@'127.0.0.1' IDENTIFIED BY 'p@ss:/?#%41&+ \u{e4}'; \
             GRANT ALL ON *.* TO 'app name'@'127.0.0.1'; CREATE DATABASE `in parts?`",
        )
        .await;
    let connection = format!("--mysql-connection=tcp(127.0.0.1:{})", server.address().port());
    let given = [
        connection.as_str(),
        "--mysql-dbname=in parts?",
        "--mysql-userpassword=app name:p@ss:/?#%41&+ \u{e4}",
    ];
    let database = arguments(&given).unwrap().open().await.unwrap();
    database.migrate().await.unwrap();
    database.ping().await.unwrap();
}

#[test]
fn a_database_is_named_by_a_url_or_in_the_parts_that_deployments_use() {
    let url = |given: &[&str]| arguments(given).unwrap().url().unwrap();
    assert_eq!(url(&[]), None);
    let parts = ["--mysql-dbname=safelight", "--mysql-userpassword=root:root"];
    for (connection, address) in [
        ("db", "db:3306"),
        ("db:3307", "db:3307"),
        ("tcp(db)", "db:3306"),
        ("tcp(db:3307)", "db:3307"),
        ("tcp([::1]:3307)", "[::1]:3307"),
    ] {
        let connection = format!("--mysql-connection={connection}");
        let expected = format!("mysql://root:root@{address}/safelight");
        assert_eq!(url(&[&connection, parts[0], parts[1]]), Some(expected));
    }
    let port = url(&["--mysql-connection=db", "--mysql-port=3308", parts[0], parts[1]]);
    assert_eq!(port.as_deref(), Some("mysql://root:root@db:3308/safelight"));
    let both = url(&["--database-url=sqlite:///a.db", "--mysql-connection=db"]);
    assert_eq!(both.as_deref(), Some("sqlite:///a.db"));
}

#[test]
fn a_part_that_is_wrong_or_missing_is_named() {
    for (given, named) in [
        ("--mysql-connection=tcp(db", "--mysql-connection"),
        ("--mysql-connection=db/name", "--mysql-connection"),
        ("--mysql-connection=", "--mysql-connection"),
        ("--mysql-port=0", "--mysql-port"),
        ("--database-url=postgres://db", "--database-url"),
        ("--database-max-connections=0", "--database-max-connections"),
    ] {
        let refused = arguments(&[given]).unwrap_err().to_string();
        assert!(refused.contains(named), "{given}: {refused}");
    }
    for (given, named) in [
        (vec!["--mysql-connection=db"], "MYSQL_DBNAME"),
        (
            vec!["--mysql-connection=db", "--mysql-dbname=safelight"],
            "MYSQL_USERPASSWORD",
        ),
    ] {
        let refused = arguments(&given).unwrap().url().unwrap_err().to_string();
        assert!(refused.starts_with(named), "{refused}");
    }
}

#[test]
fn no_secret_is_shown_for_debugging() {
    let given = [
        "--database-url=mysql://u:secret@h/d",
        "--mysql-userpassword=u:secret",
    ];
    let shown = format!("{:?}", arguments(&given).unwrap());
    assert!(!shown.contains("secret"), "{shown}");
}
