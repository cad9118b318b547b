//! Which files are posted.

use std::fs;
use std::path::{Path, PathBuf};

/// A file that is to be posted, or why it cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    /// Its length in bytes, or what is wrong with it.
    pub(crate) length: Result<u64, String>,
}

/// The files that were named, and those in the folders that were named, each folder in the order of its names. In a
/// folder symbolic links, names that begin with a dot, and what is no file are passed over; what was named itself is
/// taken, or said to be wrong.
pub(crate) fn find(named: &[PathBuf]) -> Vec<File> {
    let mut files = Vec::new();
    for path in named {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => walk(path, &mut files),
            Ok(metadata) if metadata.is_file() => files.push(file(path, metadata.len())),
            Ok(_) => files.push(wrong(path, "neither a file nor a folder".to_owned())),
            Err(error) => files.push(wrong(path, error.to_string())),
        }
    }
    files
}

fn walk(folder: &Path, files: &mut Vec<File>) {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = match entries {
        Ok(entries) => entries,
        Err(error) => return files.push(wrong(folder, error.to_string())),
    };
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        // Of the entry itself, so that a symbolic link is neither a file nor a folder.
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => walk(&path, files),
            Ok(metadata) if metadata.is_file() => files.push(file(&path, metadata.len())),
            Ok(_) => {}
            Err(error) => files.push(wrong(&path, error.to_string())),
        }
    }
}

fn file(path: &Path, length: u64) -> File {
    File {
        path: path.to_owned(),
        length: Ok(length),
    }
}

fn wrong(path: &Path, why: String) -> File {
    File {
        path: path.to_owned(),
        length: Err(why),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(files: &[File], root: &Path) -> Vec<String> {
        let name = |file: &File| file.path.strip_prefix(root).unwrap().display().to_string();
        files.iter().map(name).collect()
    }

    #[test]
    fn a_folder_is_walked_in_order_without_links_and_dot_files() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("b/deep")).unwrap();
        fs::create_dir(root.join(".git")).unwrap();
        for name in [
            "c.png",
            "a.png",
            "b/2.png",
            "b/deep/1.png",
            ".hidden.png",
            ".git/x.png",
        ] {
            fs::write(root.join(name), "12345").unwrap();
        }
        symlink(root.join("a.png"), root.join("link.png")).unwrap();
        symlink(root, root.join("b/loop")).unwrap();

        let files = find(&[root.to_owned()]);
        assert_eq!(names(&files, root), ["a.png", "b/2.png", "b/deep/1.png", "c.png"]);
        assert!(files.iter().all(|file| file.length == Ok(5)));
    }

    #[test]
    fn what_is_named_itself_is_taken_as_it_stands() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::write(root.join(".hidden.png"), "1").unwrap();
        symlink(root.join(".hidden.png"), root.join("link.png")).unwrap();
        let files = find(&[root.join("link.png"), root.join(".hidden.png")]);
        assert_eq!(names(&files, root), ["link.png", ".hidden.png"]);
    }

    #[test]
    fn what_cannot_be_posted_is_said_and_the_others_are_found() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::write(root.join("a.png"), "1").unwrap();
        let files = find(&[
            root.join("gone.png"),
            PathBuf::from("/dev/null"),
            root.join("a.png"),
        ]);
        assert!(files[0].length.as_ref().unwrap_err().contains("No such file"));
        assert_eq!(files[1].length, Err("neither a file nor a folder".to_owned()));
        assert_eq!(files[2].length, Ok(1));
    }
}
