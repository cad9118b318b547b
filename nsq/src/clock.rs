//! Moments that may be as far off as callers like.

use std::time::Duration;

use tokio::time::Instant;

/// Far enough for ever, and not so far that clocks overflow.
const FOR_EVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);

/// The moment in so much time; a very long time is thirty years.
pub(crate) fn from_now(time: Duration) -> Instant {
    Instant::now() + time.min(FOR_EVER)
}
