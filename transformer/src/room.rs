//! Whether there is room in the store.

use std::time::Duration;

use safelight_store::{Key, Store, StoreError};
use tokio::sync::watch;

use crate::transformer::Transformer;

/// How much is written to see whether it is taken: more than most of what is made.
const TRIAL: usize = 1 << 20;
/// How often that is tried while there is room. A call that finds none says so by itself.
const WELL: Duration = Duration::from_secs(5);
/// And how often while there is none.
const ILL: Duration = Duration::from_secs(1);

/// Writes something into a folder that is never finished, so that nothing of it stays; a bucket has room. Blocks.
pub(crate) fn check(store: &Store) -> Result<(), StoreError> {
    store.check()?;
    if store.folder().is_none() {
        return Ok(());
    }
    let key: Key = match "check/room".parse() {
        Ok(key) => key,
        Err(_) => unreachable!("it is made of the letters that keys are made of"),
    };
    let mut trial = store.begin_upload(&key, TRIAL as u64)?;
    trial.write(&vec![0; TRIAL])
}

/// Says in `ready` whether the store takes what is made, until nobody listens. Work that is taken while it does not would
/// be for nothing, and those who send it have to know that before.
pub(crate) async fn watch(transformer: Transformer, ready: watch::Sender<bool>) {
    loop {
        let checked = transformer.check_store().await;
        let works = checked.is_ok();
        let changed = ready.send_if_modified(|before| std::mem::replace(before, works) != works);
        match checked {
            Err(error) if changed => tracing::warn!(%error, "takes no work: it has nowhere to put it"),
            Ok(()) if changed => tracing::info!("the store takes objects again"),
            Ok(()) | Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(if works { WELL } else { ILL }) => {}
            () = ready.closed() => return,
        }
    }
}
