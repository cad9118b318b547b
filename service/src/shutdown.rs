//! The word to stop, shared by all that runs.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells every part of a program to finish what it holds and end. Cheap to clone; every clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// One that only [`Shutdown::trigger`] sets off.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that SIGTERM or SIGINT sets off. A second signal ends the process at once, with status 130.
    ///
    /// Must be called within a tokio runtime.
    pub fn on_signals() -> Self {
        let shutdown = Self::new();
        let triggered = shutdown.clone();
        tokio::spawn(async move {
            let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
            let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
                tracing::error!("cannot listen for signals; only SIGKILL will end this program");
                return;
            };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("stopping: finishing what runs");
            triggered.trigger();
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
        shutdown
    }

    /// Tells everybody to stop. Doing it again does nothing.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Whether it was set off.
    pub fn is_triggered(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns when it was set off. Cancel safe.
    pub async fn triggered(&self) {
        self.token.cancelled().await;
    }

    /// One that this one sets off, and that can be set off by itself.
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
        }
    }
}
