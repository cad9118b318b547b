//! The database comes late, goes, and comes back.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use safelight_database::{Database, Options};
use safelight_proto::recognizer::v1::EnrollPersonRequest;
use safelight_recognizer::State;
use safelight_testkit::MariaDb;
use support::log::Log;
use support::{Place, eventually, require_models};
use tonic::Code;

#[tokio::test]
async fn who_is_known_is_waited_for_at_the_start_and_kept_while_the_database_is_away() {
    require_models!();
    let server = MariaDb::start().await;
    let options = Options {
        acquire_timeout: Duration::from_secs(1),
        ..Options::default()
    };
    let url = server.create_database().await;
    let place = Place::new();
    let (obama, obama2) = (place.sample("obama.jpg"), place.sample("obama2.jpg"));
    let enroll = |name: &str| EnrollPersonRequest {
        person_name: name.to_owned(),
        image_uri: obama.clone(),
    };
    {
        let database = Database::connect(&url, &options).await.unwrap();
        database.migrate().await.unwrap();
        let before = place.start_with(&[], Some(database)).await;
        before.serving().await;
        before.client().enroll_person(enroll("Barack")).await.unwrap();
    }

    server.kill();
    let log = Log::capture();
    let database = Database::open(&url, &options).await.unwrap();
    let recognizer = place.start_with(&[], Some(database)).await;
    let warnings = || log.lines_with(&["WARN", "people cannot be read"]).len();
    eventually(|| warnings() == 1, || format!("{} warnings", warnings())).await;
    assert_eq!(*recognizer.recognizer.state().borrow(), State::Loading);
    assert_eq!(
        recognizer.identify(&obama2).await.unwrap_err().code(),
        Code::Unavailable
    );

    server.restart().await;
    recognizer.serving().await;
    assert_eq!(recognizer.identify(&obama2).await.unwrap(), "obama.jpg");

    server.kill();
    eventually(|| warnings() == 2, || format!("{} warnings", warnings())).await;
    assert_eq!(recognizer.identify(&obama2).await.unwrap(), "obama.jpg");
    let status = recognizer
        .client()
        .enroll_person(enroll("Other"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "the database is away")
    );

    server.restart().await;
    eventually(
        || !log.lines_with(&["the database answers again"]).is_empty(),
        || "away".to_owned(),
    )
    .await;
    recognizer.client().enroll_person(enroll("Other")).await.unwrap();
}
