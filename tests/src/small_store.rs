//! A store that can be full.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own in a folder, in memory, which is unmounted with this value. Needs root.
#[derive(Debug)]
pub struct SmallStore {
    folder: PathBuf,
}

impl SmallStore {
    /// Whether one can be made here. Where not `test` is skipped, and counted as that.
    pub fn is_possible(test: &str) -> bool {
        let folder = tempfile::tempdir().expect("a folder");
        let possible = SmallStore::mount(folder.path(), 1).is_some();
        if !possible {
            // Not `eprintln!`, whose output the test harness keeps to itself when a test passes.
            let line = format!("SKIPPED: {test}: no file system may be mounted here; run it as root\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        possible
    }

    /// One of so many MiB.
    pub(crate) fn mount(folder: &Path, mebibytes: u32) -> Option<SmallStore> {
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder)
            .output();
        mounted
            .is_ok_and(|mounted| mounted.status.success())
            .then(|| SmallStore {
                folder: folder.to_owned(),
            })
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut file = File::create(self.filling()).expect("a file");
        loop {
            match file.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("the store cannot be filled: {error}"),
            }
        }
    }

    /// Gives it back.
    pub fn make_room(&self) {
        std::fs::remove_file(self.filling()).expect("it was filled");
    }

    fn filling(&self) -> PathBuf {
        self.folder.join("filling")
    }
}

impl Drop for SmallStore {
    fn drop(&mut self) {
        // Lazily: somebody may still have a file open there.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.folder.display());
        }
    }
}
