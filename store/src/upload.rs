use std::sync::Arc;

use crate::error::StoreError;
use crate::folder::Folder;
use crate::key::Key;
use crate::parts::Parts;
use crate::remote::Remote;
use crate::store::Object;
use crate::temporary::Temporary;

/// An object that is written piece by piece, and there when it is finished. Dropped before that, nothing of it stays.
///
/// With a folder it holds none of what was written in memory, with a bucket a part of 5 MiB, or of a ten-thousandth of
/// what it was begun for where that is more. As with the [`Store`](crate::Store), all methods block, and dropping it does.
#[derive(Debug)]
pub struct Upload {
    place: Place,
    hasher: blake3::Hasher,
    written: u64,
    most: u64,
}

#[derive(Debug)]
enum Place {
    Folder {
        folder: Folder,
        key: Key,
        temporary: Temporary,
    },
    Bucket(Parts),
}

// === impl Upload ===

impl Upload {
    pub(crate) fn into_folder(folder: &Folder, key: &Key, most: u64) -> Result<Self, StoreError> {
        if folder.path_of(key).exists() {
            return Err(StoreError::There);
        }
        let temporary = Temporary::begin(folder).map_err(StoreError::from);
        let place = Place::Folder {
            folder: folder.clone(),
            key: key.clone(),
            temporary: temporary.map_err(StoreError::of_putting)?,
        };
        Ok(Self::begin(place, most))
    }

    pub(crate) fn into_bucket(remote: &Arc<Remote>, key: &Key, most: u64) -> Result<Self, StoreError> {
        let parts = Parts::begin(remote, key, most).map_err(StoreError::of_putting)?;
        Ok(Self::begin(Place::Bucket(parts), most))
    }

    fn begin(place: Place, most: u64) -> Self {
        Self {
            place,
            hasher: blake3::Hasher::new(),
            written: 0,
            most,
        }
    }

    /// How many bytes were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] where there are more than it was begun for; [`StoreError::Full`],
    /// [`StoreError::Unavailable`]. After an error it can only be dropped.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.written.saturating_add(bytes.len() as u64);
        if written > self.most {
            return Err(StoreError::TooLarge { limit: self.most });
        }
        match &mut self.place {
            Place::Folder { temporary, .. } => temporary.write(bytes)?,
            Place::Bucket(parts) => parts.write(bytes).map_err(StoreError::of_putting)?,
        }
        self.hasher.update(bytes);
        self.written = written;
        Ok(())
    }

    /// Puts the object under its key, where it lasts when this returns.
    ///
    /// # Errors
    /// [`StoreError::There`] where another one came there first; [`StoreError::Full`], [`StoreError::Unavailable`].
    /// Then nothing of this one stays; in a bucket that went away meanwhile it may be there, whole.
    pub fn finish(self) -> Result<Object, StoreError> {
        let object = Object {
            bytes: self.written,
            blake3: *self.hasher.finalize().as_bytes(),
        };
        let finished = match self.place {
            Place::Folder {
                folder,
                key,
                temporary,
            } => temporary.link(&folder, &key),
            Place::Bucket(parts) => parts.finish(object),
        };
        finished.map_err(StoreError::of_putting)?;
        Ok(object)
    }
}
