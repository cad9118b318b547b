//! Telling what happens, as it happens.

use std::fmt::Display;

use safelight_mesh::Target;
use tokio::time::Instant;

/// Prints lines with the time since the story began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Story {
    began: Instant,
}

// === impl Story ===

impl Story {
    pub(crate) fn begin() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    pub(crate) fn tell(&self, what: impl Display) {
        println!("{:6.2} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// Tells of every change of the target's availability, in a task of its own.
    pub(crate) fn follow(self, target: &Target) {
        let mut availability = target.availability();
        tokio::spawn(async move {
            loop {
                let now = availability.borrow_and_update().clone();
                self.tell(format_args!("  ({:?}: {})", now.state, now.reason));
                if availability.changed().await.is_err() {
                    return;
                }
            }
        });
    }
}
