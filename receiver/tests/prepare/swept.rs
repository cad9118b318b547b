//! What is left of uploads that were given up is removed from the store.

use std::time::Duration;

use reqwest::StatusCode;
use safelight_receiver::{Limits, UploadSweep};
use safelight_store::Key;

use crate::forms::{
    Slow, assert_nothing_is_recorded, assert_nothing_stays, file, form, objects, send_file, uploads_begun,
};
use crate::served::{Served, until};

const LONG: Duration = Duration::from_secs(600);

fn sweep(served: &Served) -> UploadSweep {
    UploadSweep::new(&served.database, served.store.clone().unwrap())
}

#[tokio::test]
async fn a_connection_that_is_cut_off_leaves_nothing() {
    let served = Served::with_store(Limits::default()).await;
    let body = form(&[file("a.png", &[1; 400_000])]);
    let slow = Slow::begin(&served, body.len(), &body[..300_000]).await;
    until("the upload runs", || async { !objects(&served).is_empty() }).await;
    assert_eq!(uploads_begun(&served).await, 1);
    drop(slow);
    until("nothing lies in the store", || async {
        objects(&served).is_empty()
    })
    .await;
    assert_nothing_is_recorded(&served).await;
    sweep(&served).round(Duration::ZERO).await.unwrap();
    assert_nothing_stays(&served).await;
}

#[tokio::test]
async fn an_object_that_was_never_recorded_is_removed_when_it_is_old() {
    let served = Served::with_store(Limits::default()).await;
    let store = served.store.clone().unwrap();
    let sweep = sweep(&served);
    let key: Key = "input/01J/a.png".parse().unwrap();
    served.database.uploads().begin(key.as_str()).await.unwrap();
    store.put_once(&key, b"bytes").unwrap();

    assert_eq!(sweep.round(LONG).await.unwrap(), 0);
    assert_eq!(objects(&served).len(), 1);
    assert_eq!(sweep.round(Duration::ZERO).await.unwrap(), 1);
    assert_nothing_stays(&served).await;
    assert!(!served.folder.path().join("store/input/01J").exists());
}

#[tokio::test]
async fn more_than_is_asked_for_at_once_is_removed_in_one_round() {
    let served = Served::with_store(Limits::default()).await;
    for number in 0..201 {
        let key = format!("input/{number}/a.png");
        served.database.uploads().begin(&key).await.unwrap();
    }
    assert_eq!(sweep(&served).round(Duration::ZERO).await.unwrap(), 201);
    assert_eq!(uploads_begun(&served).await, 0);
}

#[tokio::test]
async fn what_was_recorded_stays() {
    let served = Served::with_store(Limits::default()).await;
    let response = send_file(&served, "a.png", b"bytes").await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert_eq!(sweep(&served).round(Duration::ZERO).await.unwrap(), 0);
    assert_eq!(objects(&served).len(), 1);
}

#[tokio::test]
async fn a_store_that_is_away_is_swept_later() {
    let served = Served::with_store(Limits::default()).await;
    served.database.uploads().begin("input/01J/a.png").await.unwrap();
    std::fs::write(served.folder.path().join("store"), "").unwrap();
    sweep(&served).round(Duration::ZERO).await.unwrap_err();
    assert_eq!(uploads_begun(&served).await, 1);
    std::fs::remove_file(served.folder.path().join("store")).unwrap();
    assert_eq!(sweep(&served).round(Duration::ZERO).await.unwrap(), 1);
}
