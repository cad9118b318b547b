//! The counts on top of the list, counted no more often than they are worth.
//!
//! Counting reads an index from end to end. With millions of images and a dozen open pages that refresh
//! themselves, it would keep the database busy with nothing else.

use std::sync::Arc;
use std::time::Duration;

use safelight_database::{Counts, Error, Images};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Counts are shown for so many times as long as it took to count them: at most a twentieth of one of the
/// database's cores is spent on counting.
const WORTH: u32 = 20;
const LONGEST_SHOWN: Duration = Duration::from_secs(60);

/// Counts for all pages of this process together.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    images: Images,
    last: Arc<Mutex<Option<Counted>>>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    counts: Counts,
    shown_until: Instant,
}

impl Tally {
    pub(crate) fn new(images: Images) -> Self {
        Self {
            images,
            last: Arc::default(),
        }
    }

    /// The counts, of just now or of a short while ago. Callers that come while they are being counted wait
    /// for the same count.
    pub(crate) async fn counts(&self) -> Result<Counts, Error> {
        let mut last = self.last.lock().await;
        let started = Instant::now();
        if let Some(counted) = last.filter(|counted| started < counted.shown_until) {
            return Ok(counted.counts);
        }
        let counts = self.images.counts().await?;
        *last = Some(Counted {
            counts,
            shown_until: shown_until(started, Instant::now()),
        });
        Ok(counts)
    }
}

fn shown_until(started: Instant, ended: Instant) -> Instant {
    ended + ((ended - started) * WORTH).min(LONGEST_SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_counting_takes_the_longer_its_result_is_shown() {
        let started = Instant::now();
        let shown = |took: u64| {
            let ended = started + Duration::from_millis(took);
            shown_until(started, ended) - ended
        };
        assert_eq!(shown(1), Duration::from_millis(20));
        assert_eq!(shown(500), Duration::from_secs(10));
        assert_eq!(shown(60_000), LONGEST_SHOWN);
    }
}
