//! An object is there whole or not at all, and the first one stays.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use safelight_store::{Key, Put, Store, StoreArgs, StoreError};
use tempfile::TempDir;

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreArgs::of_folder(&folder.path().join("store"))).unwrap();
    (folder, store)
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn temporary_files(store: &Store) -> usize {
    fs::read_dir(store.folder().unwrap().join("tmp")).map_or(0, Iterator::count)
}

#[test]
fn what_was_put_can_be_read_and_nothing_else_lies_there() {
    let (_folder, store) = store();
    let key = key("output/1/cat_t.png");
    assert!(matches!(store.read(&key, 10), Err(StoreError::Missing)));
    let Put::New(object) = store.put_once(&key, b"bytes").unwrap() else {
        panic!("nothing was there");
    };
    assert_eq!(
        (object.bytes, object.blake3),
        (5, *blake3::hash(b"bytes").as_bytes())
    );
    assert_eq!(store.read(&key, 5).unwrap(), b"bytes");
    assert_eq!(fs::read(store.uri(&key)).unwrap(), b"bytes");
    assert_eq!(temporary_files(&store), 0);
}

#[test]
fn an_object_that_is_there_stays_and_is_described() {
    let (_folder, store) = store();
    let key = key("output/1/cat_t.png");
    let Put::New(first) = store.put_once(&key, b"first").unwrap() else {
        panic!("nothing was there");
    };
    assert_eq!(
        store.put_once(&key, b"second, and longer").unwrap(),
        Put::There(first)
    );
    assert_eq!(store.read(&key, 100).unwrap(), b"first");
    assert_eq!(temporary_files(&store), 0);
}

#[test]
fn of_many_who_put_at_once_one_does_and_all_are_told_the_same() {
    let (_folder, store) = store();
    for round in 0..50 {
        let key = key(&format!("output/{round}/cat_t.png"));
        let together = Barrier::new(4);
        let puts: Vec<Put> = thread::scope(|scope| {
            let putting: Vec<_> = (0..4)
                .map(|number| {
                    let (store, key, together) = (&store, &key, &together);
                    scope.spawn(move || {
                        together.wait();
                        store
                            .put_once(key, format!("number {number}").as_bytes())
                            .unwrap()
                    })
                })
                .collect();
            putting.into_iter().map(|put| put.join().unwrap()).collect()
        });
        let new = puts.iter().filter(|put| matches!(put, Put::New(_))).count();
        assert_eq!(new, 1, "{puts:?}");
        let there = *blake3::hash(&store.read(&key, 100).unwrap()).as_bytes();
        for put in puts {
            let (Put::New(object) | Put::There(object)) = put;
            assert_eq!(object.blake3, there);
        }
    }
    assert_eq!(temporary_files(&store), 0);
}

#[test]
fn an_object_over_the_limit_is_not_read() {
    let (_folder, store) = store();
    let key = key("input/1/a");
    store.put_once(&key, b"123456").unwrap();
    assert!(matches!(
        store.read(&key, 5),
        Err(StoreError::TooLarge { limit: 5 })
    ));
}

#[test]
fn what_a_killed_process_left_is_swept_up_when_it_is_old() {
    let (_folder, store) = store();
    assert_eq!(store.sweep_temporary(Duration::ZERO).unwrap(), 0);
    let temporary = store.folder().unwrap().join("tmp");
    fs::create_dir_all(&temporary).unwrap();
    fs::write(temporary.join("left"), b"half of").unwrap();
    assert_eq!(store.sweep_temporary(Duration::from_secs(3600)).unwrap(), 0);
    assert_eq!(store.sweep_temporary(Duration::ZERO).unwrap(), 1);
    assert_eq!(temporary_files(&store), 0);
}

#[test]
fn a_store_whose_folder_cannot_be_made_says_so() {
    let (folder, _) = store();
    fs::write(folder.path().join("file"), b"").unwrap();
    let store = Store::open(&StoreArgs::of_folder(&folder.path().join("file/store"))).unwrap();
    for error in [
        store.check().unwrap_err(),
        store.put_once(&key("output/1/a"), b"x").unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    }
}
