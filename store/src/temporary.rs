use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::folder::Folder;
use crate::key::Key;

/// A file with a name of its own that is removed with this value.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
    file: File,
}

// === impl Temporary ===

impl Temporary {
    pub(crate) fn begin(folder: &Folder) -> io::Result<Self> {
        let folder = folder.temporary();
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{:032x}", rand::random::<u128>()));
        let file = File::create_new(&path)?;
        Ok(Self { path, file })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Gives what was written its own name, which lasts when this returns.
    ///
    /// # Errors
    /// [`StoreError::There`] where something has that name.
    pub(crate) fn link(&self, store: &Folder, key: &Key) -> Result<(), StoreError> {
        self.file.sync_all()?;
        let path = store.path_of(key);
        let folder = path.parent().unwrap_or(store.path());
        let is_new = !folder.exists();
        fs::create_dir_all(folder)?;
        match fs::hard_link(&self.path, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(StoreError::There),
            Err(error) => return Err(error.into()),
        }
        // Or the name could be gone after a power cut, or the folder that it is in.
        sync(folder)?;
        if is_new {
            let above = folder.ancestors().skip(1);
            for folder in above.take_while(|folder| folder.starts_with(store.path())) {
                sync(folder)?;
            }
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "a temporary object stays until the sweep");
        }
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
