//! How the processor works, with its defaults.

use std::time::Duration;

/// How the processor works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Images worked on at once, 1 to 256. More than the recognizers can take only makes them answer that
    /// they are full.
    pub concurrency: usize,
    /// Files looked at, and pictures made small, at once: each 1 to 256.
    pub transforms: usize,
    /// Films that a frame, and films that an animation is made of at once: each 1 to 256.
    pub films: usize,
    /// How long a claim holds without being renewed. It is renewed at a third of this; when the processor
    /// dies, its images are taken over after it.
    pub lease: Duration,
    /// How often the database is asked for work that no message brought.
    pub sweep_interval: Duration,
    /// How long work must have been due before the sweep takes it, so that messages come first.
    pub sweep_overdue: Duration,
    /// Tries an image has before it is failed with the last reason. Waiting for a service is not a try.
    pub max_tries: u32,
    /// The pause before the second try; it doubles with each one after.
    pub retry_delay: Duration,
    /// How long work that waits for a service is put aside. Taking it up again costs one refused call at
    /// most, and a processor whose circuit is open takes up nothing.
    pub wait_delay: Duration,
    /// How long running work may take to finish after the word to stop; what is left is given back.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 4,
            transforms: 4,
            films: 2,
            lease: Duration::from_secs(30),
            sweep_interval: Duration::from_secs(1),
            sweep_overdue: Duration::from_secs(5),
            max_tries: 5,
            retry_delay: Duration::from_secs(2),
            wait_delay: Duration::from_millis(500),
            drain: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// The pause after `tries` ended tries: doubled with each, at most five minutes.
    pub fn delay_after(&self, tries: u32) -> Duration {
        const LONGEST: Duration = Duration::from_secs(300);
        self.retry_delay
            .saturating_mul(1 << tries.saturating_sub(1).min(16))
            .min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_with_each_try_and_has_an_end() {
        let settings = Settings {
            retry_delay: Duration::from_secs(2),
            ..Settings::default()
        };
        let delays = [1, 2, 3, 4].map(|tries| settings.delay_after(tries).as_secs());
        assert_eq!(delays, [2, 4, 8, 16]);
        assert_eq!(settings.delay_after(u32::MAX), Duration::from_secs(300));
    }
}
