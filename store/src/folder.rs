//! Objects that are files.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::StoreError;
use crate::key::Key;
use crate::store::{Object, Put};
use crate::temporary::Temporary;

/// A store in a folder, which is made when something is put into it.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: Arc<Path>,
}

// === impl Folder ===

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path: path.into() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn path_of(&self, key: &Key) -> PathBuf {
        self.path.join(key.as_str())
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.path.join(Key::TEMPORARY)
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        Ok(fs::create_dir_all(self.temporary())?)
    }

    /// It is written under a temporary name and then linked to its own, which POSIX lets only one of several do.
    pub(crate) fn put_once(&self, key: &Key, bytes: &[u8]) -> Result<Put, StoreError> {
        let path = self.path_of(key);
        if let Some(there) = describe(&path)? {
            return Ok(Put::There(there));
        }
        let mut temporary = Temporary::begin(self)?;
        temporary.write(bytes)?;
        match temporary.link(self, key) {
            Ok(()) => Ok(Put::New(Object::of(bytes))),
            Err(StoreError::There) => {
                let there = describe(&path)?.ok_or(StoreError::Missing)?;
                Ok(Put::There(there))
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let path = self.path_of(key);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        // One directly below the store's is everybody's, and about to be used by somebody.
        if let Some(folder) = path.parent()
            && folder.parent() != Some(&self.path)
            && folder != &*self.path
        {
            // It stays where something else lies in it.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    pub(crate) fn open(&self, key: &Key) -> Result<(File, u64), StoreError> {
        let file = File::open(self.path_of(key))?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    }

    pub(crate) fn sweep_temporary(&self, older: Duration) -> Result<u64, StoreError> {
        let entries = match fs::read_dir(self.temporary()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let now = SystemTime::now();
        let mut removed = 0;
        for entry in entries {
            let entry = entry?;
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.map(|at| now.duration_since(at).unwrap_or_default());
            // One that is gone was finished just now.
            if age.is_ok_and(|age| age >= older) && fs::remove_file(entry.path()).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// What is there; `None` where nothing is.
fn describe(path: &Path) -> Result<Option<Object>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(Some(Object {
        bytes: hasher.count(),
        blake3: *hasher.finalize().as_bytes(),
    }))
}
