use std::fs::File;
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::MediaError;
use crate::uri::MediaUri;

/// How often an open that raced with a rename is tried again.
const RACES: u32 = 8;

/// Opens a regular file below its root for reading.
///
/// The kernel resolves the whole path under `RESOLVE_BENEATH`, so no link, rename or mount that changes
/// between a check and the open can lead out: there is no check before the open. `O_NONBLOCK` keeps a FIFO
/// from waiting for its writer; it has no effect on the regular files that remain.
pub(crate) fn open(uri: &MediaUri<'_>) -> Result<(File, u64), MediaError> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = resolve(uri, flags)?;
    let stat = rustix::fs::fstat(&file).map_err(file_error)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((File::from(file), u64::try_from(stat.st_size).unwrap_or(0))),
        FileType::Directory => Err(MediaError::Refused("it names a folder and not a file".into())),
        _ => Err(MediaError::Refused("it is not a regular file".into())),
    }
}

/// Resolves the path as [`open`] would, without opening the file itself.
pub(crate) fn locate(uri: &MediaUri<'_>) -> Result<(), MediaError> {
    resolve(uri, OFlags::PATH | OFlags::CLOEXEC).map(drop)
}

fn resolve(uri: &MediaUri<'_>, flags: OFlags) -> Result<OwnedFd, MediaError> {
    // The root is opened each time: a descriptor that is kept would outlive an unmount and a mount anew.
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, uri.root, folder, Mode::empty()).map_err(root_error)?;
    let stay = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RACES {
        match rustix::fs::openat2(&root, &uri.below, flags, Mode::empty(), stay) {
            Ok(file) => return Ok(file),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOSYS | Errno::PERM) => return walk(root, &uri.below, flags),
            Err(error) => return Err(file_error(error)),
        }
    }
    Err(MediaError::Unreadable(Errno::AGAIN.into()))
}

/// The same where the kernel or a sandbox has no `openat2`: name by name, and no symbolic link at all.
fn walk(root: OwnedFd, below: &Path, flags: OFlags) -> Result<OwnedFd, MediaError> {
    let mut at = root;
    let mut names = below.iter().peekable();
    while let Some(name) = names.next() {
        let wanted = if names.peek().is_some() {
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC
        } else {
            flags
        };
        at = rustix::fs::openat(&at, name, wanted | OFlags::NOFOLLOW, Mode::empty()).map_err(file_error)?;
        // With O_PATH a link is opened as itself instead of being refused.
        let stat = rustix::fs::fstat(&at).map_err(file_error)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(file_error(Errno::LOOP));
        }
    }
    Ok(at)
}

fn file_error(error: Errno) -> MediaError {
    match error {
        Errno::NOENT | Errno::NOTDIR => MediaError::Missing,
        Errno::XDEV | Errno::LOOP => {
            MediaError::Refused("a symbolic link on its way leads out of the allowed folder".into())
        }
        Errno::NAMETOOLONG => MediaError::Refused("a name in it is too long".into()),
        Errno::NXIO | Errno::NODEV => MediaError::Refused("it is not a regular file".into()),
        error => MediaError::Unreadable(error.into()),
    }
}

/// A root that is not there is a mount that is away, and no fault of the file.
fn root_error(error: Errno) -> MediaError {
    MediaError::Unreadable(error.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    fn open_by_walking(root: &Path, below: &str) -> Result<OwnedFd, MediaError> {
        let folder = OFlags::PATH | OFlags::DIRECTORY;
        let root = rustix::fs::openat(CWD, root, folder, Mode::empty()).unwrap();
        walk(root, Path::new(below), OFlags::RDONLY | OFlags::CLOEXEC)
    }

    #[test]
    fn walking_opens_plain_files_and_refuses_every_link() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/b.jpg"), "b").unwrap();
        symlink("b.jpg", folder.path().join("a/link.jpg")).unwrap();
        symlink("a", folder.path().join("c")).unwrap();

        assert!(open_by_walking(folder.path(), "a/b.jpg").is_ok());
        assert!(matches!(
            open_by_walking(folder.path(), "a/none.jpg"),
            Err(MediaError::Missing)
        ));
        assert!(matches!(
            open_by_walking(folder.path(), "a/link.jpg"),
            Err(MediaError::Refused(_))
        ));
        let through = open_by_walking(folder.path(), "c/b.jpg");
        assert!(
            matches!(through, Err(MediaError::Missing | MediaError::Refused(_))),
            "{through:?}"
        );
    }
}
