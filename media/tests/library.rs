//! What a library opens, on a real file system.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use safelight_media::{ContentType, Library, MediaArgs, MediaError, NfsMount};

const GIF: &[u8] = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

struct Place {
    folder: tempfile::TempDir,
    library: Library,
}

/// `inside/` is the root; `outside/` lies beside it and holds a file that nobody may see.
fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in [
        ("inside/a.gif", GIF),
        ("inside/deep/b.gif", GIF),
        ("outside/secret.gif", GIF),
    ] {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let library = Library::new(&MediaArgs::with_roots([folder.path().join("inside")])).unwrap();
    Place { folder, library }
}

impl Place {
    fn uri(&self, below: &str) -> String {
        self.path(below).to_str().unwrap().to_owned()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn link(&self, target: impl AsRef<Path>, below: &str) -> String {
        symlink(target, self.path(below)).unwrap();
        self.uri(below)
    }

    /// Every way in answers the same.
    fn is_refused(&self, uri: &str) -> bool {
        let check = matches!(self.library.check(uri), Err(MediaError::Refused(_)));
        let read = matches!(self.library.read(uri), Err(MediaError::Refused(_)));
        let decode = matches!(self.library.decode(uri), Err(MediaError::Refused(_)));
        let stream = matches!(self.library.open_stream(uri), Err(MediaError::Refused(_)));
        assert!(
            check == read && read == decode && decode == stream,
            "{check} {read} {decode} {stream}"
        );
        check
    }
}

#[test]
fn a_file_below_the_root_is_read_and_decoded() {
    let place = place();
    let uri = place.uri("inside/deep/b.gif");
    place.library.check(&uri).unwrap();
    let file = place.library.read(&uri).unwrap();
    assert_eq!((file.bytes.as_slice(), file.file_name.as_str()), (GIF, "b.gif"));
    assert_eq!(place.library.decode(&uri).unwrap().image.dimensions(), (1, 1));
}

#[test]
fn paths_that_lead_out_are_refused_at_every_door() {
    let place = place();
    assert!(place.is_refused(&place.uri("outside/secret.gif")));
    assert!(place.is_refused(&place.uri("inside/../outside/secret.gif")));
    assert!(place.is_refused("/etc/passwd"));
    assert!(place.is_refused(&format!("file://{}", place.uri("inside/a.gif"))));
}

#[test]
fn links_that_lead_out_are_refused_at_every_door() {
    let place = place();
    let outside = place.path("outside");
    assert!(place.is_refused(&place.link(outside.join("secret.gif"), "inside/absolute.gif")));
    assert!(place.is_refused(&place.link("../outside/secret.gif", "inside/relative.gif")));
    place.link(&outside, "inside/folder");
    assert!(place.is_refused(&place.uri("inside/folder/secret.gif")));
    place.link("absolute.gif", "inside/chain.gif");
    assert!(place.is_refused(&place.uri("inside/chain.gif")));
    assert!(place.is_refused(&place.link("loop.gif", "inside/loop.gif")));
    assert!(place.is_refused(&place.link("/proc/self/environ", "inside/magic.gif")));
}

#[test]
fn links_that_stay_inside_are_followed() {
    let place = place();
    let uri = place.link("deep/b.gif", "inside/link.gif");
    place.library.check(&uri).unwrap();
    assert!(place.library.decode(&uri).is_ok());
    place.link("../deep", "inside/deep/again");
    assert!(
        place
            .library
            .decode(&place.uri("inside/deep/again/b.gif"))
            .is_ok()
    );
}

#[test]
fn a_missing_file_passes_the_check_and_is_missing_when_read() {
    let place = place();
    for uri in [
        place.uri("inside/later.gif"),
        place.uri("inside/no/such/folder.gif"),
        place.uri("inside/a.gif/x"),
    ] {
        place.library.check(&uri).unwrap();
        assert!(
            matches!(place.library.read(&uri), Err(MediaError::Missing)),
            "{uri}"
        );
    }
}

#[test]
fn a_root_that_is_away_is_the_storage_and_not_the_file() {
    let place = place();
    let uri = place.uri("inside/a.gif");
    fs::rename(place.path("inside"), place.path("unmounted")).unwrap();
    place.library.check(&uri).unwrap();
    let error = place.library.read(&uri).unwrap_err();
    assert!(
        matches!(error, MediaError::Unreadable(_)) && error.is_retryable(),
        "{error:?}"
    );
    fs::rename(place.path("unmounted"), place.path("inside")).unwrap();
    assert!(place.library.read(&uri).is_ok());
}

#[test]
fn only_regular_files_are_opened_and_a_fifo_does_not_hang() {
    let place = place();
    let fifo = place.path("inside/fifo.jpg");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.path("inside/socket.jpg")).unwrap();
    for uri in [
        place.uri("inside/fifo.jpg"),
        place.uri("inside/socket.jpg"),
        place.uri("inside/deep"),
    ] {
        let error = place.library.read(&uri).unwrap_err();
        assert!(matches!(error, MediaError::Refused(_)), "{uri}: {error:?}");
    }
}

#[test]
fn an_empty_file_is_empty() {
    let place = place();
    fs::write(place.path("inside/empty.jpg"), b"").unwrap();
    assert!(matches!(
        place.library.decode(&place.uri("inside/empty.jpg")),
        Err(MediaError::Empty)
    ));
}

#[test]
fn a_file_over_the_limit_is_not_read() {
    let place = place();
    // Sparse, so that a test that read it would be slow and not only wrong.
    fs::File::create(place.path("inside/huge.jpg"))
        .unwrap()
        .set_len(10 << 30)
        .unwrap();
    let error = place.library.read(&place.uri("inside/huge.jpg")).unwrap_err();
    let is_expected = matches!(
        error,
        MediaError::TooLarge {
            unit: "bytes",
            found: 10_737_418_240,
            limit: 67_108_864,
            ..
        }
    );
    assert!(is_expected, "{error:?}");
}

#[test]
fn the_extension_does_not_count() {
    let place = place();
    fs::copy(place.path("inside/a.gif"), place.path("inside/a.jpg")).unwrap();
    fs::write(place.path("inside/text.jpg"), "hello").unwrap();
    assert!(place.library.decode(&place.uri("inside/a.jpg")).is_ok());
    let text = place.uri("inside/text.jpg");
    assert!(matches!(
        place.library.decode(&text),
        Err(MediaError::NotAPicture)
    ));
    assert!(matches!(
        place.library.open_stream(&text),
        Err(MediaError::NotAPicture)
    ));
}

#[test]
fn a_stream_begins_at_the_first_byte() {
    let place = place();
    let (mut file, kind, bytes) = place.library.open_stream(&place.uri("inside/a.gif")).unwrap();
    assert_eq!(
        (kind, kind.mime(), bytes),
        (ContentType::Gif, "image/gif", GIF.len() as u64)
    );
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert_eq!(read, GIF);
}

#[test]
fn a_mount_is_opened_by_its_name() {
    let place = place();
    let mount: NfsMount = format!("cameras={}", place.uri("inside")).parse().unwrap();
    let args = MediaArgs {
        nfs_mounts: vec![mount],
        ..MediaArgs::with_roots([])
    };
    let library = Library::new(&args).unwrap();
    assert!(library.decode("nfs://cameras/deep/b.gif").is_ok());
    assert!(matches!(
        library.check("nfs://other/b.gif"),
        Err(MediaError::Refused(_))
    ));
    assert!(matches!(
        library.check(&place.uri("inside/a.gif")),
        Err(MediaError::Refused(_))
    ));
}

#[test]
fn settings_that_cannot_be_used_name_their_variable() {
    let nothing = Library::new(&MediaArgs::with_roots([])).unwrap_err();
    assert_eq!(nothing.variable, "MEDIA_ROOTS");
    let relative = Library::new(&MediaArgs::with_roots(["pictures".into()])).unwrap_err();
    assert_eq!(
        (relative.variable, relative.value.as_str()),
        ("MEDIA_ROOTS", "pictures")
    );
    assert!("cameras".parse::<NfsMount>().is_err());
    assert!("=/mnt".parse::<NfsMount>().is_err());
    assert!("a/b=/mnt".parse::<NfsMount>().is_err());
    assert!("cameras=mnt".parse::<NfsMount>().is_err());
}
