//! Work that no message brings: the queue lost it, or its worker died.

use std::sync::Arc;
use std::time::Duration;

use safelight_service::Shutdown;

use crate::crew::Crew;

/// Claims at most this much at a time, so that several processors share what is there.
const BATCH: usize = 16;

/// Asks the database at intervals for work that has been due for a while, until `shutdown`.
///
/// It claims what it finds and works on it right here instead of putting it back on the queue: a queue that
/// is away does not matter then, and a backlog is not announced again and again. While the service
/// is away nothing is claimed.
pub(crate) async fn sweep(crew: Crew, shutdown: Shutdown) {
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.triggered() => return,
        }
        pause = crew.settings().sweep_interval;
        let Some(leave) = crew.leave() else { continue };
        // Waits its turn behind messages, so a busy queue does not starve what it has lost.
        let mut hands = tokio::select! {
            hand = crew.hand() => vec![hand],
            () = shutdown.triggered() => return,
        };
        while !leave.is_trial()
            && hands.len() < BATCH
            && let Some(hand) = crew.try_hand()
        {
            hands.push(hand);
        }
        let limit = u32::try_from(hands.len()).unwrap_or(1);
        let settings = crew.settings();
        let tasks = crew.database().tasks();
        let due = tasks.claim_due(crew.kind(), limit, settings.sweep_overdue, settings.lease);
        let due = match due.await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "cannot look for forgotten work");
                continue;
            }
        };
        for image in &due.crashed {
            tracing::error!(image, "failed: it crashed its worker every time");
        }
        metrics::counter!("processor_swept_total").increment(due.claims.len() as u64);
        if due.claims.len() == hands.len() {
            pause = Duration::ZERO;
        }
        let leave = Arc::new(leave);
        for (claim, hand) in due.claims.into_iter().zip(hands) {
            let (working, leave) = (crew.clone(), Arc::clone(&leave));
            crew.spawn(async move {
                working.work(&claim, None).await;
                drop((hand, leave));
            });
        }
    }
}
