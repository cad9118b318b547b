//! How far a server is on its way from its start to its end.

use tokio::sync::watch;

/// The phases, in their order. All that serves follows them; each does its part by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Health says `NOT_SERVING`; calls and connections are taken as before.
    NotReady,
    /// No connection is taken; those that are open are told GOAWAY and finish what runs.
    Stopping,
    /// What still runs is dropped.
    Cut,
}

/// Returns when the phase is at least this one, or the server is gone.
pub(super) async fn reached(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    // Without a sender the server was dropped, which is the end, too.
    let _ = phases.wait_for(|now| *now >= phase).await;
}
