//! How many messages may be unanswered at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Hands out the slots that messages take until they are answered. Of those there are, it keeps as many for itself as
/// are not to be used now; a wait for slots that are in use comes before new messages do, since a semaphore serves
/// first who asked first.
#[derive(Debug)]
pub(super) struct Flow {
    slots: Arc<Semaphore>,
    max_in_flight: u32,
    /// How many may be used now.
    allowed: watch::Receiver<u32>,
    kept: Option<OwnedSemaphorePermit>,
}

// === impl Flow ===

impl Flow {
    pub(super) fn new(slots: Arc<Semaphore>, max_in_flight: u32, allowed: watch::Receiver<u32>) -> Self {
        Self {
            slots,
            max_in_flight,
            allowed,
            kept: None,
        }
    }

    /// Waits until at least one more message may be unanswered; takes up to `most` of the free slots. `None` when the
    /// subscription is gone. Cancel safe.
    pub(super) async fn free_slots(&mut self, most: usize) -> Option<Vec<OwnedSemaphorePermit>> {
        let first = loop {
            let allowed = (*self.allowed.borrow_and_update()).min(self.max_in_flight);
            let unused = (self.max_in_flight - allowed) as usize;
            tokio::select! {
                biased;
                changed = self.allowed.changed() => changed.ok()?,
                first = slot(&self.slots, &mut self.kept, unused) => break first?,
            }
        };
        let mut slots = vec![first];
        while slots.len() < most
            && let Ok(another) = self.slots.clone().try_acquire_owned()
        {
            slots.push(another);
        }
        Some(slots)
    }
}

/// A slot, as soon as so many are kept as are not to be used. `None` never, as nobody closes the semaphore.
async fn slot(
    slots: &Arc<Semaphore>,
    kept: &mut Option<OwnedSemaphorePermit>,
    unused: usize,
) -> Option<OwnedSemaphorePermit> {
    let held = kept.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    if held > unused {
        let too_many = kept.as_mut().and_then(|kept| kept.split(held - unused));
        drop(too_many);
    } else if held < unused {
        let missing = u32::try_from(unused - held).unwrap_or(u32::MAX);
        let more = slots.clone().acquire_many_owned(missing).await.ok()?;
        match kept {
            Some(kept) => kept.merge(more),
            None => *kept = Some(more),
        }
    }
    slots.clone().acquire_owned().await.ok()
}
