//! A store that would write over an object is found out before anything is put into it.

use safelight_store::{Put, Store, StoreArgs, StoreError};
use safelight_testkit::{S3Server, require_s3};

use crate::meddler::{Meddler, Meddling};
use crate::{at, blocking, key, temporary_objects};

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused_and_nothing_is_put_there() {
    require_s3!();
    let server = S3Server::start_open().await;
    let meddler = Meddler::start(server.address(), Meddling::DropsConditions).await;
    let store = at("s3://pictures/a", server.variables_at(meddler.address));
    let asked = store.clone();
    blocking(move || {
        let refused = asked.check().unwrap_err();
        assert!(matches!(refused, StoreError::Overwrites), "{refused:?}");
        assert!(refused.to_string().contains("If-None-Match"), "{refused}");
        let put = asked.put_once(&key("output/1/a"), b"bytes");
        assert!(matches!(put, Err(StoreError::Overwrites)), "{put:?}");
        let begun = asked.begin_upload(&key("output/1/a"), 10);
        assert!(matches!(begun, Err(StoreError::Overwrites)), "{begun:?}");
        assert!(matches!(
            asked.read(&key("output/1/a"), 10),
            Err(StoreError::Missing)
        ));
    })
    .await;
    assert_eq!(temporary_objects(&server.bucket()), 0);

    // It is the requests that were meddled with and nothing else.
    meddler.let_pass();
    blocking(move || {
        store.check().unwrap();
        assert!(matches!(
            store.put_once(&key("output/1/a"), b"bytes").unwrap(),
            Put::New(_)
        ));
    })
    .await;
}

#[tokio::test]
async fn a_store_that_knows_no_conditions_is_refused() {
    require_s3!();
    let server = S3Server::start().await;
    let meddler = Meddler::start(server.address(), Meddling::Answers(501, "NotImplemented")).await;
    let store = at("s3://pictures", server.variables_at(meddler.address));
    let checked = blocking(move || store.check()).await;
    assert!(matches!(checked, Err(StoreError::Overwrites)), "{checked:?}");
}

#[tokio::test]
async fn a_bucket_without_what_it_needs_is_refused_at_once() {
    let args = |url: &str| StoreArgs {
        url: Some(url.to_owned()),
    };
    let half = [("AWS_ACCESS_KEY_ID".to_owned(), "key".to_owned())];
    let refused = Store::open_in(&args("s3://pictures"), half)
        .unwrap_err()
        .to_string();
    assert!(refused.starts_with("STORAGE_URL: "), "{refused}");
    let refused = Store::open_in(&args("az://pictures"), [])
        .unwrap_err()
        .to_string();
    assert!(refused.starts_with("STORAGE_URL: "), "{refused}");
}
