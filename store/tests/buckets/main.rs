//! What a store promises, kept in a folder, in a bucket of S3 and in a container of Azure Blob.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

mod away;
mod meddler;
mod promises;
mod trial;

use std::path::Path;

use meddler::{Meddler, Meddling};
use safelight_store::{Key, Store, StoreArgs, StoreError};
use safelight_testkit::{AzureServer, S3Server, require_azure, require_s3};

#[tokio::test]
async fn a_folder_keeps_every_promise() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let store = move |name: &str| Store::open(&StoreArgs::of_folder(&path.join(name))).unwrap();
    keeps_every_promise(store, &[]).await;
}

#[tokio::test]
async fn a_bucket_of_s3_keeps_every_promise() {
    require_s3!();
    let server = S3Server::start_open().await;
    // It looks whether an object is there and then writes it, which S3 does in one step.
    let one_by_one = Meddler::start(server.address(), Meddling::OneByOne).await;
    let (url, variables) = (server.url(), server.variables_at(one_by_one.address));
    keeps_every_promise(move |name| at(&format!("{url}/{name}"), variables.clone()), &[]).await;
    assert_eq!(server.unfinished(), 0, "no part of an upload stays");
    assert_eq!(temporary_objects(&server.bucket()), 0);
}

#[tokio::test]
async fn a_container_of_azure_blob_keeps_every_promise() {
    require_azure!();
    let server = AzureServer::start().await;
    let (url, variables) = (server.url(), server.variables());
    let store = move |name: &str| at(&format!("{url}/{name}"), variables.clone());
    keeps_every_promise(store, &[promises::A_LARGE_UPLOAD]).await;
}

/// Each in a store of its own.
async fn keeps_every_promise(store: impl Fn(&str) -> Store + Send + 'static, but: &'static [&'static str]) {
    blocking(move || {
        let asked = promises::ALL.into_iter().filter(|(name, _)| !but.contains(name));
        for (number, (promise, is_kept)) in asked.enumerate() {
            eprintln!("{promise}");
            is_kept(&store(&format!("store-{number}")));
        }
    })
    .await;
}

fn at(url: &str, variables: Vec<(String, String)>) -> Store {
    let args = StoreArgs {
        url: Some(url.to_owned()),
    };
    Store::open_in(&args, variables).unwrap()
}

/// A store blocks, which a task must not.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn is_away<T: std::fmt::Debug>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Unavailable(_)))
}

/// What lies under temporary names in all stores below a folder.
fn temporary_objects(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path().join("tmp"))
        .map(|tmp| std::fs::read_dir(tmp).map_or(0, Iterator::count))
        .sum()
}
