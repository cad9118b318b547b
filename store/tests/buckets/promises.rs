//! The promises, each on a store with nothing in it.

use std::io::Read;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use safelight_store::{Put, Store, StoreError};

use crate::key;

type Promise = (&'static str, fn(&Store));

pub(crate) const ALL: [Promise; 11] = [
    ("it_is_there_when_it_was_checked", it_is_there_when_it_was_checked),
    ("what_was_put_can_be_read", what_was_put_can_be_read),
    (
        "an_object_that_is_there_stays_and_is_described",
        an_object_that_is_there_stays_and_is_described,
    ),
    (
        "of_eight_who_put_at_once_one_does",
        of_eight_who_put_at_once_one_does,
    ),
    (
        "what_was_uploaded_is_there_whole_when_it_is_finished",
        what_was_uploaded_is_there_whole_when_it_is_finished,
    ),
    (
        "an_upload_that_is_given_up_leaves_nothing",
        an_upload_that_is_given_up_leaves_nothing,
    ),
    (
        "an_upload_to_a_key_that_is_taken_is_refused",
        an_upload_to_a_key_that_is_taken_is_refused,
    ),
    (A_LARGE_UPLOAD, a_large_upload_that_comes_late_is_refused),
    (
        "what_is_deleted_is_gone_and_may_be_gone_before",
        what_is_deleted_is_gone_and_may_be_gone_before,
    ),
    ("odd_names_are_kept_apart", odd_names_are_kept_apart),
    (
        "no_more_is_read_than_is_asked_for",
        no_more_is_read_than_is_asked_for,
    ),
];

/// Azurite takes an object for there as soon as a part of it is, which Azure Blob does not.
pub(crate) const A_LARGE_UPLOAD: &str = "a_large_upload_that_comes_late_is_refused";

/// More than two parts of 5 MiB.
const LARGE: usize = 11 << 20;
const MOST: u64 = 32 << 20;

fn it_is_there_when_it_was_checked(store: &Store) {
    store.check().unwrap();
    store.check().unwrap();
    assert_eq!(store.sweep_temporary(Duration::ZERO).unwrap(), 0);
}

fn what_was_put_can_be_read(store: &Store) {
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
    let uri = store.uri(&key);
    assert_eq!(store.key_of(&uri), Some(key));
    assert_eq!(store.key_of(&format!("{uri}/../../x")), None);
    assert_eq!(store.key_of("s3://another/output/1/cat_t.png"), None);
}

fn an_object_that_is_there_stays_and_is_described(store: &Store) {
    let key = key("output/1/cat_t.png");
    let Put::New(first) = store.put_once(&key, b"first").unwrap() else {
        panic!("nothing was there");
    };
    assert_eq!(
        store.put_once(&key, b"second, and longer").unwrap(),
        Put::There(first)
    );
    assert_eq!(store.read(&key, 100).unwrap(), b"first");
}

fn of_eight_who_put_at_once_one_does(store: &Store) {
    for round in 0..5 {
        let key = key(&format!("output/{round}/cat_t.png"));
        let together = Barrier::new(8);
        let puts: Vec<Put> = thread::scope(|scope| {
            let putting: Vec<_> = (0..8)
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
}

fn what_was_uploaded_is_there_whole_when_it_is_finished(store: &Store) {
    // One part and no byte more, one byte more, several, and next to nothing.
    for (number, size) in [1, 5 << 20, (5 << 20) + 1, LARGE].into_iter().enumerate() {
        let key = key(&format!("input/{number}/film.mp4"));
        let bytes = noise(size);
        let mut upload = store.begin_upload(&key, MOST).unwrap();
        for piece in bytes.chunks(300_000) {
            upload.write(piece).unwrap();
            assert!(matches!(store.reader(&key), Err(StoreError::Missing)));
        }
        assert_eq!(upload.written(), size as u64);
        let object = upload.finish().unwrap();
        assert_eq!(object.bytes, size as u64);
        assert_eq!(object.blake3, *blake3::hash(&bytes).as_bytes());
        assert!(store.read(&key, MOST).unwrap() == bytes);

        let mut reader = store.reader(&key).unwrap();
        assert_eq!(reader.size(), size as u64);
        let mut first = [0; 1];
        reader.read_exact(&mut first).unwrap();
        assert_eq!(first[0], bytes[0]);
    }
}

fn an_upload_that_is_given_up_leaves_nothing(store: &Store) {
    let key = key("input/1/film.mp4");
    let mut upload = store.begin_upload(&key, MOST).unwrap();
    upload.write(&noise(LARGE)).unwrap();
    drop(upload);
    assert!(matches!(store.reader(&key), Err(StoreError::Missing)));

    let mut upload = store.begin_upload(&key, 10).unwrap();
    upload.write(b"12345").unwrap();
    assert!(matches!(
        upload.write(b"678901"),
        Err(StoreError::TooLarge { limit: 10 })
    ));
    drop(upload);
    assert!(matches!(store.reader(&key), Err(StoreError::Missing)));
    assert_eq!(store.sweep_temporary(Duration::ZERO).unwrap(), 0);
}

fn an_upload_to_a_key_that_is_taken_is_refused(store: &Store) {
    let key = key("input/1/cat.png");
    let mut late = store.begin_upload(&key, MOST).unwrap();
    store.put_once(&key, b"first").unwrap();
    assert!(matches!(store.begin_upload(&key, MOST), Err(StoreError::There)));
    late.write(b"second").unwrap();
    assert!(matches!(late.finish(), Err(StoreError::There)));

    assert_eq!(store.read(&key, 100).unwrap(), b"first");
}

fn a_large_upload_that_comes_late_is_refused(store: &Store) {
    let key = key("input/2/film.mp4");
    let mut late = store.begin_upload(&key, MOST).unwrap();
    late.write(&noise(LARGE)).unwrap();
    store.put_once(&key, b"first").unwrap();
    assert!(matches!(late.finish(), Err(StoreError::There)));
    assert_eq!(store.read(&key, 100).unwrap(), b"first");
}

fn what_is_deleted_is_gone_and_may_be_gone_before(store: &Store) {
    let key = key("input/1/cat.png");
    store.delete(&key).unwrap();
    store.put_once(&key, b"bytes").unwrap();
    store.delete(&key).unwrap();
    assert!(matches!(store.read(&key, 10), Err(StoreError::Missing)));
    store.delete(&key).unwrap();
    assert!(matches!(store.put_once(&key, b"again").unwrap(), Put::New(_)));
}

fn odd_names_are_kept_apart(store: &Store) {
    let long = format!("input/{}/{}", "a".repeat(60), "b".repeat(60));
    let names = [
        "x",
        "a-b_c/D.0",
        "a-b_c/d.0",
        "CON",
        "x..y/-",
        "_/--",
        "input/a.b.c.",
        &long,
    ];
    for name in names {
        assert!(
            matches!(store.put_once(&key(name), name.as_bytes()).unwrap(), Put::New(_)),
            "{name}"
        );
    }
    for name in names {
        assert_eq!(store.read(&key(name), 1000).unwrap(), name.as_bytes());
    }
}

fn no_more_is_read_than_is_asked_for(store: &Store) {
    let key = key("input/1/a");
    store.put_once(&key, b"123456").unwrap();
    assert!(matches!(
        store.read(&key, 5),
        Err(StoreError::TooLarge { limit: 5 })
    ));
    assert_eq!(store.read(&key, 6).unwrap(), b"123456");
    let empty = self::key("input/1/empty");
    store.put_once(&empty, b"").unwrap();
    assert_eq!(store.read(&empty, 6).unwrap(), b"");
}

/// Bytes that are not alike.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}
