use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::args::{ConfigError, Place, StoreArgs};
use crate::error::StoreError;
use crate::folder::Folder;
use crate::key::Key;
use crate::reader::Reader;
use crate::remote::Remote;
use crate::upload::Upload;

/// Objects under keys, in a folder, or in a bucket of S3 or Azure Blob. Cheap to clone.
///
/// All methods use the disk or the network and block: call them from a blocking thread. With a bucket they panic in a
/// task.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Inner,
}

#[derive(Clone, Debug)]
enum Inner {
    Folder(Folder),
    Remote(Arc<Remote>),
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
    /// A store. Whether it is there is not asked. The credentials of a bucket come from the environment: those whose names
    /// begin with `AWS_` for S3, those with `AZURE_` for Azure Blob.
    ///
    /// # Errors
    /// The URL, or what the environment says of the bucket, cannot be used.
    pub fn open(args: &StoreArgs) -> Result<Self, ConfigError> {
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::open_in(args, std::env::vars_os().filter_map(unicode))
    }

    /// As [`Store::open`], for a program that does without a store; `None` where no URL was given.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_if_named(args: &StoreArgs) -> Result<Option<Self>, ConfigError> {
        args.url.as_ref().map(|_| Self::open(args)).transpose()
    }

    /// As [`Store::open`], with these variables in place of the environment.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_in(
        args: &StoreArgs,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let inner = match args.place()? {
            Place::Folder(path) => Inner::Folder(Folder::new(path)),
            Place::Bucket(bucket) => Inner::Remote(Arc::new(Remote::open(&bucket, variables)?)),
        };
        Ok(Self { inner })
    }

    /// The folder it is in; `None` where it is a bucket.
    pub fn folder(&self) -> Option<&Path> {
        match &self.inner {
            Inner::Folder(folder) => Some(folder.path()),
            Inner::Remote(_) => None,
        }
    }

    /// Whether objects can be put there: its folder is there, or can be made; its bucket answers, and never writes over an
    /// object where it is told not to. That is tried out until it was seen once, and before anything is put there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Full`]; [`StoreError::Overwrites`], which no waiting heals.
    pub fn check(&self) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Folder(folder) => folder.check(),
            Inner::Remote(remote) => remote.check(),
        }
    }

    /// The media URI of an object, there or not: an absolute path, or `s3://` or `az://`, the bucket and the key.
    pub fn uri(&self, key: &Key) -> String {
        match &self.inner {
            Inner::Folder(folder) => folder.path_of(key).display().to_string(),
            Inner::Remote(remote) => format!("{}{key}", remote.uri()),
        }
    }

    /// The key of the object that has this media URI; `None` where it is no object of this store.
    pub fn key_of(&self, uri: &str) -> Option<Key> {
        let below = match &self.inner {
            Inner::Folder(folder) => {
                let path = folder.path().display().to_string();
                uri.strip_prefix(&path)?.strip_prefix('/')?
            }
            Inner::Remote(remote) => uri.strip_prefix(remote.uri())?,
        };
        below.parse().ok()
    }

    /// Puts an object there that lasts when this returns, unless there is one under its key.
    ///
    /// Nobody ever sees half of it, and of several the first one stays.
    ///
    /// # Errors
    /// Any but [`StoreError::Missing`]. Then nothing is under the key that was not there before; in a bucket that went away
    /// meanwhile it may be there, whole.
    pub fn put_once(&self, key: &Key, bytes: &[u8]) -> Result<Put, StoreError> {
        let put = match &self.inner {
            Inner::Folder(folder) => folder.put_once(key, bytes),
            Inner::Remote(remote) => remote.put_once(key, bytes),
        };
        put.map_err(StoreError::of_putting)
    }

    /// Begins an object of at most `most` bytes that is written piece by piece. Until it is [finished](Upload::finish)
    /// there is nothing under its key, which has to be the caller's own: in a bucket two large uploads to one key may both
    /// come to an end, and the later one stays.
    ///
    /// # Errors
    /// [`StoreError::There`] where there is an object under this key; [`StoreError::Full`],
    /// [`StoreError::Unavailable`], [`StoreError::Overwrites`].
    pub fn begin_upload(&self, key: &Key, most: u64) -> Result<Upload, StoreError> {
        match &self.inner {
            Inner::Folder(folder) => Upload::into_folder(folder, key, most),
            Inner::Remote(remote) => Upload::into_bucket(remote, key, most),
        }
    }

    /// Removes an object, and the folder that it leaves empty. Where there is none, nothing is done.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub fn delete(&self, key: &Key) -> Result<(), StoreError> {
        match &self.inner {
            Inner::Folder(folder) => folder.delete(key),
            Inner::Remote(remote) => remote.delete(key),
        }
    }

    /// Opens an object, to be read from its first byte on.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Unavailable`].
    pub fn reader(&self, key: &Key) -> Result<Reader, StoreError> {
        match &self.inner {
            Inner::Folder(folder) => {
                let (file, bytes) = folder.open(key)?;
                Ok(Reader::of_file(file, bytes))
            }
            Inner::Remote(remote) => remote.reader(key),
        }
    }

    /// Reads an object whole, where it has at most `limit` bytes.
    ///
    /// # Errors
    /// Any but [`StoreError::Full`].
    pub fn read(&self, key: &Key, limit: u64) -> Result<Vec<u8>, StoreError> {
        let reader = self.reader(key)?;
        if reader.size() > limit {
            return Err(StoreError::TooLarge { limit });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(reader.size()).unwrap_or(0));
        let read = reader.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(StoreError::Unavailable)?;
        // A file may have grown.
        if bytes.len() as u64 > limit {
            return Err(StoreError::TooLarge { limit });
        }
        Ok(bytes)
    }

    /// Removes what was begun more than `older` ago and never finished, as its process was killed. Tells how many.
    ///
    /// What was uploaded of a large object to a bucket is not found: a rule of the bucket has to remove it.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub fn sweep_temporary(&self, older: Duration) -> Result<u64, StoreError> {
        match &self.inner {
            Inner::Folder(folder) => folder.sweep_temporary(older),
            Inner::Remote(remote) => remote.sweep_temporary(older),
        }
    }
}

// === impl Object ===

impl Object {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len() as u64,
            blake3: *blake3::hash(bytes).as_bytes(),
        }
    }
}
