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
    for url in ["", "postgres://u:secret@h/d", "mysql://u:secret@h", "mysql://u:secret@h:x/d", "sqlite::memory:"] {
        let refused = Database::connect(url, &impatient()).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{url}: {refused:?}");
        assert!(!refused.unwrap_err().to_string().contains("secret"), "{url}");
    }
}

#[tokio::test]
async fn a_refused_login_is_told_from_a_server_that_is_away() {
    let server = MariaDb::shared().await;
    let address = server.address();
    let wrong = [format!("mysql://nobody:x@{address}/mysql"), format!("mysql://root@{address}/nowhere")];
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
        database.images().accept(&images([format!("/before-{number}.jpg")])).await.unwrap();
        accepted += 1;
    }
    server.kill();
    for number in 0..2 {
        let answer = database.images().accept(&images([format!("/while-{number}.jpg")])).await;
        assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    }
    server.restart().await;
    eventually("the database is back", async || database.ping().await.ok()).await;
    assert_eq!(database.images().counts().await.unwrap().pending, accepted);
    assert_eq!(database.outbox().claim(100, LONG).await.unwrap().len() as u64, accepted);
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
    assert_eq!(tasks.len(), 8, "one message an image, whether or not its first call was committed");
}

#[tokio::test]
async fn a_closed_database_is_unavailable() {
    for back_end in [crate::back_end::BackEnd::mysql().await, crate::back_end::BackEnd::sqlite().await] {
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
