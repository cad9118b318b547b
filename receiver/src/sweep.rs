//! The sweep of the store: no object stays that no record names.

use std::time::Duration;

use safelight_database::{Database, Error, Uploads};
use safelight_service::Shutdown;
use safelight_store::{Key, Store, StoreError};

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(10 * 60);
/// How many uploads are asked for at once.
const AT_ONCE: u32 = 100;
/// How old what was begun under a temporary name is at least; longer than any upload may stall.
const TEMPORARY: Duration = Duration::from_secs(60 * 60);

/// Removes from the store what was uploaded and never recorded. Several may run at once.
#[derive(Clone, Debug)]
pub struct UploadSweep {
    uploads: Uploads,
    store: Store,
}

/// Why a round ended early. The next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] Error),
    /// The store did not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

// === impl UploadSweep ===

impl UploadSweep {
    /// One for this database and this store.
    pub fn new(database: &Database, store: Store) -> Self {
        Self {
            uploads: database.uploads(),
            store,
        }
    }

    /// Removes the objects of uploads that were begun more than `older` ago and never recorded, and forgets those.
    /// Tells how many. `older` has to be more than an upload may take.
    ///
    /// # Errors
    /// [`SweepError`]; what was not removed is found by the next round.
    pub async fn round(&self, older: Duration) -> Result<u64, SweepError> {
        let mut removed = 0;
        loop {
            let keys = self.uploads.abandoned(older, AT_ONCE).await?;
            for text in &keys {
                match text.parse::<Key>() {
                    Ok(key) => self.blocking(move |store| store.delete(&key)).await?,
                    Err(error) => tracing::warn!(%error, "an upload was begun under what is no key"),
                }
                // Only now: until then the next round finds it again.
                self.uploads.forget(text).await?;
                removed += 1;
            }
            if keys.len() < AT_ONCE as usize {
                return Ok(removed);
            }
        }
    }

    /// Runs rounds until `shutdown`.
    pub(crate) async fn run(self, older: Duration, shutdown: Shutdown) {
        loop {
            match self.round(older).await {
                Ok(0) => {}
                Ok(uploads) => tracing::info!(uploads, "removed what was uploaded and never recorded"),
                Err(error) => tracing::warn!(%error, "the sweep of uploads goes on later"),
            }
            match self.blocking(|store| store.sweep_temporary(TEMPORARY)).await {
                Ok(0) => {}
                Ok(objects) => tracing::info!(objects, "removed what was never finished from the store"),
                Err(error) => tracing::warn!(%error, "the store could not be swept"),
            }
            tokio::select! {
                () = shutdown.triggered() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || work(&store)).await {
            Ok(result) => result,
            Err(error) => Err(StoreError::Unavailable(std::io::Error::other(error))),
        }
    }
}
