//! What is written piece by piece is there when it is finished, whole, and not before.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Barrier;
use std::thread;

use safelight_store::{Key, Store, StoreArgs, StoreError, Upload};
use tempfile::TempDir;

const MOST: u64 = 1 << 20;

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreArgs::of_folder(&folder.path().join("store"))).unwrap();
    (folder, store)
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn begin(store: &Store, text: &str) -> Upload {
    store.begin_upload(&key(text), MOST).unwrap()
}

fn temporary_files(store: &Store) -> usize {
    fs::read_dir(store.folder().unwrap().join("tmp")).map_or(0, Iterator::count)
}

fn is_missing(store: &Store, text: &str) -> bool {
    matches!(store.read(&key(text), MOST), Err(StoreError::Missing))
}

#[test]
fn an_upload_is_there_when_it_is_finished_and_not_before() {
    let (_folder, store) = store();
    let mut upload = begin(&store, "input/1/a.mp4");
    let mut whole = Vec::new();
    for number in 0..100_u8 {
        let piece = vec![number; 1000];
        upload.write(&piece).unwrap();
        whole.extend_from_slice(&piece);
        assert!(is_missing(&store, "input/1/a.mp4"));
    }
    assert_eq!(upload.written(), 100_000);
    let object = upload.finish().unwrap();
    assert_eq!(object.bytes, 100_000);
    assert_eq!(object.blake3, *blake3::hash(&whole).as_bytes());
    assert_eq!(store.read(&key("input/1/a.mp4"), MOST).unwrap(), whole);
    assert_eq!(temporary_files(&store), 0);
}

#[test]
fn an_upload_that_is_dropped_leaves_nothing() {
    let (_folder, store) = store();
    let mut upload = begin(&store, "input/1/a.mp4");
    upload.write(b"some").unwrap();
    assert_eq!(temporary_files(&store), 1);
    drop(upload);
    assert_eq!(temporary_files(&store), 0);
    assert!(is_missing(&store, "input/1/a.mp4"));
}

#[test]
fn no_more_is_written_than_an_upload_was_begun_for() {
    let (_folder, store) = store();
    let mut upload = store.begin_upload(&key("input/1/a"), 5).unwrap();
    upload.write(b"12345").unwrap();
    let refused = upload.write(b"6");
    assert!(
        matches!(refused, Err(StoreError::TooLarge { limit: 5 })),
        "{refused:?}"
    );
    drop(upload);
    assert_eq!(temporary_files(&store), 0);
    assert!(is_missing(&store, "input/1/a"));
}

#[test]
fn an_object_that_is_there_stays_and_the_upload_is_told() {
    let (_folder, store) = store();
    store.put_once(&key("input/1/a"), b"first").unwrap();
    let refused = store.begin_upload(&key("input/1/a"), MOST);
    assert!(matches!(refused, Err(StoreError::There)));

    let mut upload = begin(&store, "input/1/b");
    upload.write(b"second").unwrap();
    store.put_once(&key("input/1/b"), b"first").unwrap();
    assert!(matches!(upload.finish(), Err(StoreError::There)));
    assert_eq!(store.read(&key("input/1/b"), MOST).unwrap(), b"first");
    assert_eq!(temporary_files(&store), 0);
}

#[test]
fn of_many_uploads_under_one_key_one_lands() {
    let (_folder, store) = store();
    for round in 0..20 {
        let text = format!("input/{round}/a");
        let together = Barrier::new(4);
        let landed: Vec<bool> = thread::scope(|scope| {
            let uploading: Vec<_> = (0..4_u8)
                .map(|number| {
                    let (store, text, together) = (&store, &text, &together);
                    scope.spawn(move || {
                        let mut upload = begin(store, text);
                        upload.write(&[number; 10]).unwrap();
                        together.wait();
                        match upload.finish() {
                            Ok(_) => true,
                            Err(StoreError::There) => false,
                            Err(error) => panic!("{error}"),
                        }
                    })
                })
                .collect();
            uploading
                .into_iter()
                .map(|upload| upload.join().unwrap())
                .collect()
        });
        assert_eq!(landed.iter().filter(|landed| **landed).count(), 1, "{landed:?}");
    }
    assert_eq!(temporary_files(&store), 0);
}

#[test]
fn an_upload_into_a_store_that_is_away_says_so() {
    let (folder, away) = store();
    fs::write(folder.path().join("store"), b"").unwrap();
    let refused = away.begin_upload(&key("input/1/a"), MOST);
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));

    let (_folder, store) = store();
    let upload = begin(&store, "input/1/a");
    fs::write(store.folder().unwrap().join("input"), b"").unwrap();
    let refused = upload.finish();
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(temporary_files(&store), 0);
}

#[test]
fn an_object_is_deleted_with_the_folder_that_it_leaves_empty() {
    let (_folder, store) = store();
    for text in ["input/1/a", "input/2/a", "input/2/b", "c", "input/d"] {
        store.put_once(&key(text), b"bytes").unwrap();
    }
    for text in ["input/1/a", "input/2/a", "c", "input/d", "input/9/never"] {
        store.delete(&key(text)).unwrap();
        store.delete(&key(text)).unwrap();
        assert!(is_missing(&store, text));
    }
    assert!(!store.folder().unwrap().join("input/1").exists());
    assert_eq!(store.read(&key("input/2/b"), MOST).unwrap(), b"bytes");
    store.delete(&key("input/2/b")).unwrap();
    assert!(
        store.folder().unwrap().join("input").exists(),
        "others are about to use it"
    );
}
