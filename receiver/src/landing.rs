//! An upload on its way into the store, which blocks, from a task, which must not.

use std::io;

use bytes::BytesMut;
use safelight_store::{Key, Object, Store, StoreError, Upload};
use tokio::runtime::Handle;

/// What is written at a time, and so about what an upload holds in memory.
const WRITTEN_AT_ONCE: usize = 128 << 10;

/// An object that is being written. Dropped before it is finished, nothing of it stays.
#[derive(Debug)]
pub(crate) struct Landing {
    /// `None` while it is being written to, and after an error.
    upload: Option<Upload>,
    waiting: BytesMut,
}

// === impl Landing ===

impl Landing {
    pub(crate) async fn begin(store: &Store, key: &Key, most: u64) -> Result<Self, StoreError> {
        let (store, key) = (store.clone(), key.clone());
        let upload = blocking(move || store.begin_upload(&key, most)).await?;
        Ok(Self {
            upload: Some(upload),
            waiting: BytesMut::new(),
        })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() < WRITTEN_AT_ONCE {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let Some(mut upload) = self.upload.take() else {
            return Err(gone());
        };
        let mut waiting = std::mem::take(&mut self.waiting);
        let (upload, emptied) = blocking(move || {
            upload.write(&waiting)?;
            waiting.clear();
            Ok((upload, waiting))
        })
        .await?;
        self.upload = Some(upload);
        self.waiting = emptied;
        Ok(())
    }

    /// Puts the object under its key. A caller that stops waiting changes nothing.
    pub(crate) async fn finish(mut self) -> Result<Object, StoreError> {
        self.flush().await?;
        let upload = self.upload.take().ok_or_else(gone)?;
        blocking(move || upload.finish()).await
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        // Removing a large file takes its time.
        if let Some(upload) = self.upload.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn_blocking(move || drop(upload));
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(StoreError::Unavailable(io::Error::other(error))),
    }
}

fn gone() -> StoreError {
    StoreError::Unavailable(io::Error::other("an earlier write failed"))
}
