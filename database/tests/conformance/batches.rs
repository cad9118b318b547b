use std::time::Duration;

use safelight_database::{
    Accepted, Database, Error, NewBatch, NewImage, NewUpload, Options, Status, TaskState, UnderKey,
};
use safelight_testkit::MariaDb;

use crate::back_end::{BackEnd, LONG, images, on_both_back_ends, recognized};

fn to_a() -> NewBatch {
    NewBatch {
        sender: Some("mail:a@b.c".to_owned()),
        email: Some("a@b.c".to_owned()),
        webhook: Some("https://b.c/told".to_owned()),
    }
}

fn upload(key: &str) -> NewUpload {
    NewUpload {
        key: key.to_owned(),
        path: format!("/store/{key}"),
        name: Some("my cat.png".to_owned()),
        bytes: 7,
        project: Some("door".to_owned()),
        at_ms: Some(1_500),
        idempotency_key: None,
    }
}

fn under(idempotency_key: &str, key: &str) -> NewUpload {
    NewUpload {
        idempotency_key: Some(idempotency_key.to_owned()),
        ..upload(key)
    }
}

async fn accept<S: Into<String>>(back_end: &BackEnd, paths: impl IntoIterator<Item = S>) -> Vec<Accepted> {
    let given = images(paths);
    back_end
        .database
        .images()
        .accept_batch(&to_a(), &given)
        .await
        .unwrap()
}

async fn rows(back_end: &BackEnd, table: &str) -> i64 {
    back_end.number(&format!("SELECT COUNT(*) FROM {table}")).await
}

on_both_back_ends! {
    async fn a_batch_has_its_images_and_they_a_task_and_a_message_each(back_end: &BackEnd) {
        let accepted = accept(back_end, ["/b.jpg", "/a.jpg"]).await;
        assert_eq!(accepted.iter().map(|image| image.path.as_str()).collect::<Vec<_>>(), ["/b.jpg", "/a.jpg"]);
        assert!(accepted.iter().all(|image| !image.duplicate && image.status == Status::Pending));
        assert!(accepted[0].id < accepted[1].id);

        assert_eq!(rows(back_end, "batches").await, 1);
        assert_eq!(back_end.texts("SELECT email FROM batches").await, ["a@b.c"]);
        assert_eq!(back_end.texts("SELECT webhook FROM batches").await, ["https://b.c/told"]);
        assert_eq!(rows(back_end, "batches WHERE sealed_at IS NOT NULL AND joined_at IS NULL").await, 1);
        let of_one_batch = "images JOIN batches ON batches.id = images.batch_id \
                            JOIN senders ON senders.id = batches.sender_id AND senders.name = 'mail:a@b.c' \
                            JOIN tasks ON tasks.image_id = images.id AND tasks.batch_id = batches.id \
                            AND tasks.sender_id = senders.id AND tasks.kind = 'prepare' AND tasks.params IS NULL";
        assert_eq!(rows(back_end, of_one_batch).await, 2);

        let messages = back_end.database.outbox().claim(10, LONG).await.unwrap();
        assert!(messages.iter().all(|message| message.topic == "prepare"), "{messages:?}");
        let mut told: Vec<_> = messages.into_iter().map(|message| message.body).collect();
        told.sort();
        let mut tasks = Vec::new();
        for image in &accepted {
            let detail = back_end.image(image.id).await;
            assert_eq!(detail.tasks.len(), 1);
            assert_eq!((detail.tasks[0].kind.as_str(), detail.tasks[0].state), ("prepare", TaskState::Ready));
            tasks.push(detail.tasks[0].id.to_le_bytes().to_vec());
        }
        tasks.sort();
        assert_eq!(told, tasks);
    }

    async fn who_has_no_sender_is_nobody_in_particular(back_end: &BackEnd) {
        let batch = NewBatch { sender: None, ..to_a() };
        back_end.database.images().accept_batch(&batch, &images(["/a.jpg"])).await.unwrap();
        assert_eq!(rows(back_end, "senders").await, 0);
        assert_eq!(rows(back_end, "batches WHERE sender_id IS NULL").await, 1);
    }

    async fn a_path_that_is_there_stays_as_it_is_and_belongs_to_no_batch(back_end: &BackEnd) {
        let first = back_end.accept("/a.jpg").await;
        let claim = back_end.claim(first.id).await;
        back_end.database.tasks().complete(&claim, &recognized(&[])).await.unwrap();

        let accepted = accept(back_end, ["/a.jpg", "/b.jpg", "/b.jpg"]).await;
        assert_eq!(accepted.iter().map(|image| image.duplicate).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!((accepted[0].id, accepted[0].status), (first.id, Status::Processed));
        assert_eq!(accepted[1].id, accepted[2].id);
        assert_eq!(rows(back_end, "images WHERE batch_id IS NOT NULL").await, 1);
        assert_eq!(rows(back_end, "tasks WHERE kind = 'prepare'").await, 1);
        assert_eq!(rows(back_end, "outbox WHERE topic = 'prepare'").await, 1);
    }

    async fn where_all_are_there_already_there_is_no_batch(back_end: &BackEnd) {
        back_end.accept_all(["/a.jpg", "/b.jpg"]).await;
        let accepted = accept(back_end, ["/b.jpg", "/a.jpg"]).await;
        assert!(accepted.iter().all(|image| image.duplicate));
        assert_eq!(rows(back_end, "batches").await, 0);
        assert_eq!(rows(back_end, "senders").await, 0);
        assert_eq!(rows(back_end, "outbox WHERE topic = 'prepare'").await, 0);
        assert_eq!(accept(back_end, [""; 0]).await, []);
        assert_eq!(rows(back_end, "batches").await, 0);
    }

    async fn a_batch_is_written_whole_or_not_at_all_and_can_be_repeated(back_end: &BackEnd) {
        back_end.execute("ALTER TABLE outbox RENAME TO elsewhere").await;
        let given = images(["/a.jpg", "/b.jpg"]);
        back_end.database.images().accept_batch(&to_a(), &given).await.unwrap_err();
        for table in ["images", "tasks", "batches", "senders"] {
            assert_eq!(rows(back_end, table).await, 0, "{table}");
        }
        back_end.execute("ALTER TABLE elsewhere RENAME TO outbox").await;

        // The answer of the first was lost.
        let first = accept(back_end, ["/a.jpg", "/b.jpg"]).await;
        let again = accept(back_end, ["/a.jpg", "/b.jpg"]).await;
        assert!(first.iter().all(|image| !image.duplicate) && again.iter().all(|image| image.duplicate));
        assert_eq!(first.iter().map(|image| image.id).collect::<Vec<_>>(), again.iter().map(|image| image.id).collect::<Vec<_>>());
        assert_eq!((rows(back_end, "batches").await, rows(back_end, "outbox").await), (1, 2));
    }

    async fn what_does_not_fit_into_a_batch_is_refused_before_anything_is_written(back_end: &BackEnd) {
        let long = |most: usize| Some("x".repeat(most + 1));
        for batch in [
            NewBatch { email: long(320), ..to_a() },
            NewBatch { webhook: long(2_048), ..to_a() },
        ] {
            let refused = back_end.database.images().accept_batch(&batch, &images(["/a.jpg"])).await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        }
        let bad = NewImage { path: String::new(), project: None };
        let refused = back_end.database.images().accept_batch(&to_a(), &[bad]).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        assert_eq!(rows(back_end, "batches").await, 0);

        let long = NewBatch { sender: long(4_096), ..to_a() };
        back_end.database.images().accept_batch(&long, &images(["/a.jpg"])).await.unwrap();
        assert_eq!(rows(back_end, "senders").await, 1);
    }

    async fn batches_of_one_sender_at_once_are_all_there_and_the_sender_is_one(back_end: &BackEnd) {
        let clients: Vec<_> = (0..16)
            .map(|client| {
                let images = back_end.database.images();
                tokio::spawn(async move {
                    for number in 0..10 {
                        // Every pair of paths comes from two clients, in one order from one and in the other from the other.
                        let mut paths = [0, 1].map(|path| format!("/{}-{number}-{path}.jpg", client / 2));
                        if client % 2 == 1 {
                            paths.reverse();
                        }
                        images.accept_batch(&to_a(), &crate::back_end::images(paths)).await.unwrap();
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        assert_eq!(rows(back_end, "senders").await, 1);
        for table in ["images", "tasks", "outbox"] {
            assert_eq!(rows(back_end, table).await, 160, "{table}");
        }
        let without_images = "batches WHERE NOT EXISTS (SELECT 1 FROM images WHERE images.batch_id = batches.id)";
        assert_eq!(rows(back_end, without_images).await, 0);
        assert_eq!(rows(back_end, "batches WHERE sealed_at IS NULL").await, 0);
    }

    async fn an_upload_is_recorded_with_what_is_known_of_it_and_no_longer_on_its_way(back_end: &BackEnd) {
        back_end.database.uploads().begin("input/1/a.png").await.unwrap();
        let accepted = back_end.database.images().accept_upload(&to_a(), &upload("input/1/a.png")).await.unwrap();
        assert_eq!((accepted.path.as_str(), accepted.duplicate), ("/store/input/1/a.png", false));
        assert_eq!(rows(back_end, "uploads").await, 0);

        let detail = back_end.image(accepted.id).await;
        assert_eq!(detail.image.project.as_deref(), Some("door"));
        assert_eq!(detail.tasks.len(), 1);
        assert_eq!(back_end.texts("SELECT name FROM images WHERE bytes = 7 AND batch_id IS NOT NULL").await, ["my cat.png"]);
        assert_eq!(back_end.texts("SELECT params FROM tasks").await, ["{\"at_ms\":1500}"]);
        assert_eq!(rows(back_end, "batches WHERE sealed_at IS NOT NULL AND sender_id IS NOT NULL").await, 1);
        let messages = back_end.database.outbox().claim(10, LONG).await.unwrap();
        assert_eq!(messages.len(), 1);
        assert_eq!((messages[0].topic.as_str(), &messages[0].body[..]), ("prepare", &detail.tasks[0].id.to_le_bytes()[..]));

        // The answer was lost.
        let again = back_end.database.images().accept_upload(&to_a(), &upload("input/1/a.png")).await.unwrap();
        assert_eq!((again.id, again.duplicate), (accepted.id, true));
        assert_eq!((rows(back_end, "batches").await, rows(back_end, "outbox").await), (1, 1));
    }

    async fn under_a_senders_key_one_upload_is_recorded(back_end: &BackEnd) {
        let (uploads, images) = (back_end.database.uploads(), back_end.database.images());
        assert_eq!(uploads.under("mine").await.unwrap(), UnderKey::Free);
        assert_eq!(uploads.begin_under("mine", "input/1/a.png", LONG).await.unwrap(), UnderKey::Free);
        assert_eq!(uploads.under("mine").await.unwrap(), UnderKey::Held);
        assert_eq!(uploads.begin_under("mine", "input/2/a.png", LONG).await.unwrap(), UnderKey::Held);
        assert_eq!(uploads.begin_under("Mine", "input/3/a.png", LONG).await.unwrap(), UnderKey::Free, "another key");
        assert_eq!(rows(back_end, "uploads").await, 2, "of the one that is refused nothing is written");

        let accepted = images.accept_upload(&to_a(), &under("mine", "input/1/a.png")).await.unwrap();
        assert!(!accepted.duplicate);
        let again = UnderKey::Recorded(Accepted { duplicate: true, ..accepted.clone() });
        assert_eq!(uploads.under("mine").await.unwrap(), again);
        assert_eq!(uploads.begin_under("mine", "input/4/a.png", LONG).await.unwrap(), again);
        let repeated = images.accept_upload(&to_a(), &under("mine", "input/1/a.png")).await.unwrap();
        assert_eq!((repeated.id, repeated.duplicate), (accepted.id, true));
        assert_eq!((rows(back_end, "images").await, rows(back_end, "batches").await), (1, 1));

        assert!(matches!(uploads.begin_under(&"x".repeat(256), "input/5/a.png", LONG).await, Err(Error::Invalid(_))));
    }

    async fn a_key_whose_upload_is_not_heard_of_goes_to_the_next_and_the_first_to_be_recorded_counts(back_end: &BackEnd) {
        let (uploads, images) = (back_end.database.uploads(), back_end.database.images());
        uploads.begin_under("mine", "input/1/a.png", Duration::ZERO).await.unwrap();
        assert_eq!(uploads.begin_under("mine", "input/2/a.png", LONG).await.unwrap(), UnderKey::Free);
        uploads.hold("mine", "input/1/a.png", Duration::ZERO).await.unwrap();
        assert_eq!(uploads.under("mine").await.unwrap(), UnderKey::Held, "it is another's by now");

        // The first one was slow, not dead.
        let accepted = images.accept_upload(&to_a(), &under("mine", "input/1/a.png")).await.unwrap();
        let late = images.accept_upload(&to_a(), &under("mine", "input/2/a.png")).await.unwrap();
        assert_eq!((late.id, late.path, late.duplicate), (accepted.id, accepted.path, true));
        assert_eq!((rows(back_end, "images").await, rows(back_end, "outbox").await), (1, 1));
        assert_eq!(uploads.abandoned(Duration::ZERO, 10).await.unwrap(), ["input/2/a.png"], "its object is removed");
        uploads.forget("input/2/a.png").await.unwrap();
        assert!(matches!(uploads.under("mine").await.unwrap(), UnderKey::Recorded(_)));
    }

    async fn a_key_whose_upload_is_forgotten_is_free(back_end: &BackEnd) {
        let uploads = back_end.database.uploads();
        uploads.begin_under("mine", "input/1/a.png", LONG).await.unwrap();
        uploads.forget("input/1/a.png").await.unwrap();
        assert_eq!(uploads.under("mine").await.unwrap(), UnderKey::Free);
    }

    async fn a_name_that_is_too_long_is_cut(back_end: &BackEnd) {
        back_end.database.uploads().begin("input/1/a.png").await.unwrap();
        let long = NewUpload { name: Some("\u{e4}".repeat(200)), at_ms: None, ..upload("input/1/a.png") };
        back_end.database.images().accept_upload(&to_a(), &long).await.unwrap();
        assert_eq!(back_end.texts("SELECT name FROM images").await, ["\u{e4}".repeat(127)]);
        assert_eq!(rows(back_end, "tasks WHERE params IS NULL").await, 1);
    }

    async fn an_upload_that_was_never_begun_or_was_forgotten_is_not_recorded(back_end: &BackEnd) {
        let uploads = back_end.database.uploads();
        uploads.begin("input/1/a.png").await.unwrap();
        uploads.forget("input/1/a.png").await.unwrap();
        let refused = back_end.database.images().accept_upload(&to_a(), &upload("input/1/a.png")).await;
        assert!(matches!(refused, Err(Error::NotFound)), "{refused:?}");
        for table in ["images", "tasks", "batches", "outbox"] {
            assert_eq!(rows(back_end, table).await, 0, "{table}");
        }
    }

    async fn uploads_that_were_given_up_are_found_by_their_age(back_end: &BackEnd) {
        let uploads = back_end.database.uploads();
        for key in ["input/3/a", "input/1/a", "input/2/a"] {
            uploads.begin(key).await.unwrap();
        }
        assert_eq!(uploads.abandoned(LONG, 10).await.unwrap(), [""; 0]);
        back_end.execute("UPDATE uploads SET created_at = created_at - 601000 WHERE object_key = 'input/1/a'").await;
        back_end.execute("UPDATE uploads SET created_at = created_at - 602000 WHERE object_key = 'input/2/a'").await;
        assert_eq!(uploads.abandoned(LONG, 10).await.unwrap(), ["input/2/a", "input/1/a"]);
        assert_eq!(uploads.abandoned(LONG, 1).await.unwrap(), ["input/2/a"]);
        uploads.forget("input/2/a").await.unwrap();
        uploads.forget("input/2/a").await.unwrap();
        assert_eq!(uploads.abandoned(Duration::ZERO, 10).await.unwrap(), ["input/1/a", "input/3/a"]);

        assert!(matches!(uploads.begin("").await, Err(Error::Invalid(_))));
        assert!(matches!(uploads.begin(&"x".repeat(513)).await, Err(Error::Invalid(_))));
        assert!(uploads.begin("input/1/a").await.is_err(), "a key is nobody else's");
    }
}

/// As many as a film has frames, each with a path as long as they are.
async fn accept_a_hundred_thousand(url: &str) {
    let options = Options {
        operation_timeout: LONG,
        ..Options::default()
    };
    let database = Database::connect(url, &options).await.unwrap();
    let given = images((0..100_000).map(|number| format!("/films/2026-11-22/door/frame-{number:06}.jpg")));
    let accepted = database.images().accept_batch(&to_a(), &given).await.unwrap();
    assert_eq!(accepted.len(), 100_000);
    assert!(accepted.iter().all(|image| !image.duplicate));
    database.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_images_are_one_batch_on_sqlite() {
    let back_end = BackEnd::sqlite().await;
    accept_a_hundred_thousand(&back_end.url).await;
    for table in ["images", "tasks", "outbox"] {
        assert_eq!(rows(&back_end, table).await, 100_000, "{table}");
    }
    assert_eq!(rows(&back_end, "batches WHERE sealed_at IS NOT NULL").await, 1);
}

/// Four statements for each thousand, and a few around them: the server tells how many it ran.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_images_are_one_batch_on_mariadb_in_some_hundred_statements() {
    let server = MariaDb::start().await;
    let url = server.create_database().await;
    let database = Database::connect(&url, &Options::default()).await.unwrap();
    database.migrate().await.unwrap();
    let statements = async || -> i64 {
        let answer = server.execute("SHOW GLOBAL STATUS LIKE 'Com_stmt_execute'").await;
        answer.split_whitespace().last().unwrap().parse().unwrap()
    };

    let before = statements().await;
    accept_a_hundred_thousand(&url).await;
    let ran = statements().await - before;
    assert!((400..=410).contains(&ran), "{ran} statements for 100,000 images");

    let count = async |table: &str| -> String {
        let use_it = url.rsplit('/').next().unwrap();
        let answer = server
            .execute(&format!("SELECT COUNT(*) FROM {use_it}.{table}"))
            .await;
        answer.split_whitespace().last().unwrap().to_owned()
    };
    for table in ["images", "tasks", "outbox"] {
        assert_eq!(count(table).await, "100000", "{table}");
    }
    assert_eq!(count("batches WHERE sealed_at IS NOT NULL").await, "1");
}
