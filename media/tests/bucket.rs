//! What a library opens of a bucket, on a real S3 server.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::io::Read;
use std::os::unix::fs::MetadataExt;

use safelight_media::{ContentType, Library, MediaArgs, MediaError};
use safelight_store::{Key, Store, StoreArgs};
use safelight_testkit::{S3Server, require_s3};

const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

#[tokio::test]
async fn objects_of_the_store_are_opened_and_nothing_else_of_that_scheme() {
    require_s3!();
    let mut server = S3Server::start().await;
    let args = StoreArgs {
        url: Some("s3://pictures/mine".to_owned()),
    };
    let store = Store::open_in(&args, server.variables()).unwrap();
    let library = tokio::task::spawn_blocking(move || {
        let key: Key = "input/1/a.gif".parse().unwrap();
        store.put_once(&key, GIF).unwrap();
        let limits = MediaArgs {
            max_file_bytes: 100,
            ..MediaArgs::with_roots([])
        };
        let library = Library::with_store(&limits, Some(&store)).unwrap();
        opens(&library, &store.uri(&key));
        refuses(&library);

        let large: Key = "input/1/large.gif".parse().unwrap();
        store.put_once(&large, &[GIF, &[0; 100]].concat()).unwrap();
        let read = library.read(&store.uri(&large));
        assert!(
            matches!(read, Err(MediaError::TooLarge { limit: 100, .. })),
            "{read:?}"
        );
        library
    })
    .await
    .unwrap();

    server.kill();
    let read = tokio::task::spawn_blocking(move || library.read("s3://pictures/mine/input/1/a.gif")).await;
    let away = read.unwrap().unwrap_err();
    assert!(away.is_retryable(), "{away}");
}

fn opens(library: &Library, uri: &str) {
    assert_eq!(uri, "s3://pictures/mine/input/1/a.gif");
    library.check(uri).unwrap();
    let read = library.read(uri).unwrap();
    assert_eq!((read.bytes.as_slice(), read.file_name.as_str()), (GIF, "a.gif"));
    assert_eq!(library.decode(uri).unwrap().width(), 1);
    let (mut file, kind, bytes) = library.open_stream(uri).unwrap();
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    assert_eq!(
        (content.as_slice(), kind, bytes),
        (GIF, ContentType::Gif, GIF.len() as u64)
    );
    // It has no name, so that nothing of it stays.
    assert_eq!(file.metadata().unwrap().nlink(), 0);
}

fn refuses(library: &Library) {
    for uri in [
        "s3://pictures/input/1/a.gif",
        "s3://pictures/minelike/a.gif",
        "s3://pictures/mine/../other/a.gif",
        "s3://pictures/mine/tmp/a.gif",
        "s3://pictures/mine/",
        "s3://another/mine/input/1/a.gif",
        "az://pictures/mine/input/1/a.gif",
        "/etc/passwd",
    ] {
        assert!(matches!(library.read(uri), Err(MediaError::Refused(_))), "{uri}");
        assert!(matches!(library.check(uri), Err(MediaError::Refused(_))), "{uri}");
    }
    let missing = library.read("s3://pictures/mine/input/1/b.gif");
    assert!(matches!(missing, Err(MediaError::Missing)), "{missing:?}");
}
