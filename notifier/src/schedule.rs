//! When what did not arrive is tried again.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// The pauses between the tries of a mail whose recipient's server said "not now", in seconds: quickly at first, as
/// gray-listing wants, then each hour for three days.
const MAIL: [u64; 4] = [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR];
/// How many pauses of an hour follow.
const MAIL_HOURS: u32 = 70;

/// The pauses between the tries of a webhook, in seconds: about three days together.
const WEBHOOK: [u64; 11] = [
    5,
    30,
    2 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    24 * HOUR,
    24 * HOUR,
];

/// The pause after `tries` (at least 1) mails that did not arrive; `None` where that was the last.
pub fn after_mail(tries: u32) -> Option<Duration> {
    let index = usize::try_from(tries.saturating_sub(1)).ok()?;
    let seconds = match MAIL.get(index) {
        Some(seconds) => *seconds,
        None if tries <= MAIL_HOURS + MAIL.len() as u32 => HOUR,
        None => return None,
    };
    Some(Duration::from_secs(seconds))
}

/// The pause after `tries` (at least 1) calls that were not answered well; `None` where that was the last.
pub fn after_webhook(tries: u32) -> Option<Duration> {
    let index = usize::try_from(tries.saturating_sub(1)).ok()?;
    WEBHOOK.get(index).map(|seconds| Duration::from_secs(*seconds))
}

/// A pause made up to a tenth shorter or longer: `random` is between 0 and 1.
pub fn spread(pause: Duration, random: f64) -> Duration {
    pause.mul_f64(0.9 + 0.2 * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAYS: f64 = 24.0 * HOUR as f64;

    fn all(after: impl Fn(u32) -> Option<Duration>) -> Vec<Duration> {
        (1..).map_while(after).collect()
    }

    #[test]
    fn both_give_up_after_about_three_days() {
        for pauses in [all(after_mail), all(after_webhook)] {
            let days = pauses.iter().sum::<Duration>().as_secs_f64() / DAYS;
            assert!((2.9..3.1).contains(&days), "{days}");
        }
    }

    #[test]
    fn no_pause_is_shorter_than_the_one_before() {
        for pauses in [all(after_mail), all(after_webhook)] {
            assert!(pauses.is_sorted(), "{pauses:?}");
        }
    }

    #[test]
    fn a_pause_is_spread_by_a_tenth_both_ways() {
        let pause = Duration::from_secs(100);
        assert_eq!(spread(pause, 0.0), Duration::from_secs(90));
        assert_eq!(spread(pause, 1.0), Duration::from_secs(110));
        assert_eq!(spread(pause, 7.0), Duration::from_secs(110));
    }
}
