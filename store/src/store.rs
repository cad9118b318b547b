use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::args::{ConfigError, StoreArgs};
use crate::error::StoreError;
use crate::key::Key;
use crate::temporary::Temporary;
use crate::upload::Upload;

/// Objects under keys, in a folder. Cheap to clone.
///
/// All methods use the disk and block: call them from a blocking thread.
#[derive(Clone, Debug)]
pub struct Store {
    folder: Arc<Path>,
}

/// What is known of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its size.
    pub bytes: u64,
    /// The BLAKE3 hash of its bytes.
    pub blake3: [u8; 32],
}

/// What [`Store::put_once`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The object was put there.
    New(Object),
    /// There was one already, this one, and it stays.
    There(Object),
}

// === impl Store ===

impl Store {
    /// A store. Its folder is made when something is put into it.
    ///
    /// # Errors
    /// The URL cannot be used.
    pub fn open(args: &StoreArgs) -> Result<Self, ConfigError> {
        let folder = args.folder()?;
        Ok(Self {
            folder: folder.into(),
        })
    }

    /// The folder it is in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether objects can be put there: its folder is there, or can be made.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Full`].
    pub fn check(&self) -> Result<(), StoreError> {
        Ok(fs::create_dir_all(self.folder.join(Key::TEMPORARY))?)
    }

    /// The media URI of an object, there or not: an absolute path.
    pub fn uri(&self, key: &Key) -> String {
        self.path(key).display().to_string()
    }

    /// Puts an object there that lasts when this returns, unless there is one under its key.
    ///
    /// It is written under a temporary name and then linked to its own, which POSIX lets only one of several do:
    /// nobody ever sees half of it, and the first one stays.
    ///
    /// # Errors
    /// Any but [`StoreError::Missing`]. Then nothing is under the key that was not there before.
    pub fn put_once(&self, key: &Key, bytes: &[u8]) -> Result<Put, StoreError> {
        let put = self.try_put(key, bytes);
        // A folder on its way that was removed in between is no object that is missing.
        put.map_err(|error| match error {
            StoreError::Missing => StoreError::Unavailable(io::ErrorKind::NotFound.into()),
            error => error,
        })
    }

    fn try_put(&self, key: &Key, bytes: &[u8]) -> Result<Put, StoreError> {
        let path = self.path(key);
        if let Some(there) = describe(&path)? {
            return Ok(Put::There(there));
        }
        let mut temporary = Temporary::begin(self)?;
        temporary.write(bytes)?;
        match temporary.link(self, key) {
            Ok(()) => Ok(Put::New(Object {
                bytes: bytes.len() as u64,
                blake3: *blake3::hash(bytes).as_bytes(),
            })),
            Err(StoreError::There) => {
                let there = describe(&path)?.ok_or(StoreError::Missing)?;
                Ok(Put::There(there))
            }
            Err(error) => Err(error),
        }
    }

    /// Begins an object of at most `most` bytes that is written piece by piece. Until it is [finished](Upload::finish)
    /// there is nothing under its key.
    ///
    /// # Errors
    /// [`StoreError::There`] where there is an object under this key; [`StoreError::Full`],
    /// [`StoreError::Unavailable`].
    pub fn begin_upload(&self, key: &Key, most: u64) -> Result<Upload, StoreError> {
        if self.path(key).exists() {
            return Err(StoreError::There);
        }
        Upload::begin(self.clone(), key.clone(), most)
    }

    /// Removes an object, and the folder that it leaves empty. Where there is none, nothing is done.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        // One directly below the store's is everybody's, and about to be used by somebody.
        if let Some(folder) = path.parent()
            && folder.parent() != Some(&self.folder)
            && folder != &*self.folder
        {
            // It stays where something else lies in it.
            let _ = fs::remove_dir(folder);
        }
        Ok(())
    }

    /// Reads an object whole, where it has at most `limit` bytes.
    ///
    /// # Errors
    /// Any but [`StoreError::Full`].
    pub fn read(&self, key: &Key, limit: u64) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        File::open(self.path(key))?
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(StoreError::TooLarge { limit });
        }
        Ok(bytes)
    }

    /// Removes what was begun more than `older` ago and never finished, as its process was killed. Tells how many.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub fn sweep_temporary(&self, older: Duration) -> Result<u64, StoreError> {
        let entries = match fs::read_dir(self.folder.join(Key::TEMPORARY)) {
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

    pub(crate) fn path(&self, key: &Key) -> PathBuf {
        self.folder.join(key.as_str())
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
