use std::io;

use crate::error::StoreError;
use crate::key::Key;
use crate::store::{Object, Store};
use crate::temporary::Temporary;

/// An object that is written piece by piece, and there when it is finished. Dropped before that, nothing of it stays.
///
/// It holds none of what was written in memory. As with the [`Store`], all methods block, and dropping it does.
#[derive(Debug)]
pub struct Upload {
    store: Store,
    key: Key,
    temporary: Temporary,
    hasher: blake3::Hasher,
    written: u64,
    most: u64,
}

// === impl Upload ===

impl Upload {
    pub(crate) fn begin(store: Store, key: Key, most: u64) -> Result<Self, StoreError> {
        let temporary = Temporary::begin(&store)
            .map_err(StoreError::from)
            .map_err(unavailable)?;
        Ok(Self {
            store,
            key,
            temporary,
            hasher: blake3::Hasher::new(),
            written: 0,
            most,
        })
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
        self.temporary.write(bytes)?;
        self.hasher.update(bytes);
        self.written = written;
        Ok(())
    }

    /// Puts the object under its key, where it lasts when this returns.
    ///
    /// # Errors
    /// [`StoreError::There`] where another one came there first; [`StoreError::Full`], [`StoreError::Unavailable`].
    /// Then nothing of this one stays.
    pub fn finish(self) -> Result<Object, StoreError> {
        self.temporary.link(&self.store, &self.key).map_err(unavailable)?;
        Ok(Object {
            bytes: self.written,
            blake3: *self.hasher.finalize().as_bytes(),
        })
    }
}

/// A folder on its way that was removed in between is no object that is missing.
fn unavailable(error: StoreError) -> StoreError {
    match error {
        StoreError::Missing => StoreError::Unavailable(io::ErrorKind::NotFound.into()),
        error => error,
    }
}
