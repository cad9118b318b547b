//! A bucket that is away, full, or broken says so, and works again when it is back.

use safelight_store::{Put, Store, StoreError};
use safelight_testkit::{AzureServer, Proxy, S3Server, require_azure, require_s3};

use crate::meddler::{Meddler, Meddling};
use crate::promises::noise;
use crate::{at, blocking, is_away, key};

#[tokio::test]
async fn a_bucket_that_is_away_is_unavailable_until_it_is_back() {
    require_s3!();
    let mut server = S3Server::start().await;
    let store = at(&server.url(), server.variables());
    put(&store, "output/1/a").await;
    server.kill();
    everything_is_away(&store).await;
    server.restart().await;
    put(&store, "output/1/b").await;
    let read = blocking(move || store.read(&key("output/1/a"), 10)).await;
    assert_eq!(read.unwrap(), b"bytes");
}

#[tokio::test]
async fn a_container_that_is_away_is_unavailable_until_it_is_back() {
    require_azure!();
    let mut server = AzureServer::start().await;
    let store = at(&server.url(), server.variables());
    put(&store, "output/1/a").await;
    server.kill();
    everything_is_away(&store).await;
    server.restart().await;
    put(&store, "output/1/b").await;
}

#[tokio::test]
async fn an_upload_during_which_the_bucket_goes_away_fails_and_leaves_nothing() {
    require_s3!();
    let mut server = S3Server::start().await;
    let store = at(&server.url(), server.variables());
    let begun = store.clone();
    let mut upload = blocking(move || {
        let mut upload = begun.begin_upload(&key("input/1/film"), 32 << 20).unwrap();
        upload.write(&noise(6 << 20)).unwrap();
        upload
    })
    .await;
    server.kill();
    let written = blocking(move || {
        let written = upload.write(&noise(6 << 20));
        drop(upload);
        written
    })
    .await;
    assert!(is_away(&written), "{written:?}");
    server.restart().await;
    let read = blocking(move || store.read(&key("input/1/film"), 10)).await;
    assert!(matches!(read, Err(StoreError::Missing)), "{read:?}");
}

#[tokio::test]
async fn a_bucket_that_answers_500_is_unavailable_and_works_when_it_does_no_more() {
    require_s3!();
    let server = S3Server::start().await;
    let meddler = Meddler::start(server.address(), Meddling::Answers(500, "")).await;
    let store = at(&server.url(), server.variables_at(meddler.address));
    everything_is_away(&store).await;
    let checked = blocking({
        let store = store.clone();
        move || store.check()
    })
    .await;
    assert!(checked.unwrap_err().to_string().contains("it answered 500"));
    meddler.let_pass();
    put(&store, "output/1/a").await;
}

#[tokio::test]
async fn a_bucket_that_is_full_says_so() {
    require_s3!();
    let server = S3Server::start().await;
    for (status, body) in [(507, ""), (403, "<Error><Code>QuotaExceeded</Code></Error>")] {
        let meddler = Meddler::start(server.address(), Meddling::Answers(status, body)).await;
        let store = at(&server.url(), server.variables_at(meddler.address));
        let put = blocking(move || store.put_once(&key("output/1/a"), b"bytes")).await;
        assert!(matches!(put, Err(StoreError::Full)), "{put:?}");
    }
}

#[tokio::test]
async fn a_bucket_that_falls_silent_fails_its_check_and_is_there_when_it_speaks_again() {
    require_s3!();
    let server = S3Server::start().await;
    let proxy = Proxy::start(server.address()).await;
    let store = at(&server.url(), server.variables_at(proxy.address()));
    put(&store, "output/1/a").await;
    proxy.black_hole();
    let asked = store.clone();
    let checked = blocking(move || asked.check()).await;
    assert!(is_away(&checked), "{checked:?}");
    proxy.heal();
    put(&store, "output/1/b").await;
}

#[tokio::test]
async fn a_bucket_that_is_not_there_or_does_not_let_us_in_says_so_and_no_object_is_missing() {
    require_s3!();
    let server = S3Server::start().await;
    let body = "<Error><Code>NoSuchBucket</Code></Error>";
    let meddler = Meddler::start(server.address(), Meddling::Answers(404, body)).await;
    let nowhere = at("s3://elsewhere", server.variables_at(meddler.address));
    everything_is_away(&nowhere).await;

    let mut variables = server.variables();
    variables.push(("AWS_SECRET_ACCESS_KEY".to_owned(), "wrong".to_owned()));
    let outside = at(&server.url(), variables);
    everything_is_away(&outside).await;
    let checked = blocking(move || outside.check()).await;
    let said = checked.unwrap_err().to_string();
    assert!(said.contains("credentials"), "{said}");
}

async fn put(store: &Store, name: &'static str) {
    let store = store.clone();
    let put = blocking(move || store.put_once(&key(name), b"bytes")).await;
    assert!(matches!(put, Ok(Put::New(_))), "{put:?}");
}

async fn everything_is_away(store: &Store) {
    let store = store.clone();
    blocking(move || {
        let key = key("output/1/a");
        let answers = [
            store.check(),
            store.put_once(&key, b"bytes").map(drop),
            store.begin_upload(&key, 10).map(drop),
            store.read(&key, 10).map(drop),
            store.delete(&key),
        ];
        for (number, answer) in answers.into_iter().enumerate() {
            assert!(is_away(&answer), "{number}: {answer:?}");
            let said = answer.unwrap_err().to_string();
            assert!(!said.contains("output") && !said.contains("127.0.0.1"), "{said}");
        }
    })
    .await;
}
