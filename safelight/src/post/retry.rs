//! Whether to try again, and when.

use std::time::Duration;

use reqwest::StatusCode;

/// The first pause; the next ones double, each spread over its upper half.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);
/// The longest that a server may ask us to leave it alone.
const LONGEST_ASKED_FOR: Duration = Duration::from_secs(300);

/// The tries of one request.
#[derive(Debug, Clone)]
pub(crate) struct Retry {
    most: u32,
    failed: u32,
}

// === impl Retry ===

impl Retry {
    /// As many tries as `most`, the first one included.
    pub(crate) fn new(most: u32) -> Retry {
        Retry { most, failed: 0 }
    }

    /// How many have failed.
    pub(crate) fn failed(&self) -> u32 {
        self.failed
    }

    /// One more has failed: how long to wait before the next, `None` where that was the last. `random` is from 0
    /// to 1; `asked_for` is what the server said.
    pub(crate) fn fail(&mut self, asked_for: Option<Duration>, random: f64) -> Option<Duration> {
        let doubled = FIRST
            .saturating_mul(2_u32.saturating_pow(self.failed))
            .min(LONGEST);
        self.failed += 1;
        let pause = doubled.mul_f64(0.5 + random / 2.0);
        let pause = asked_for.map_or(pause, |asked_for| asked_for.min(LONGEST_ASKED_FOR).max(pause));
        (self.failed < self.most).then_some(pause)
    }
}

/// Whether the same request may be answered otherwise later: too many at a time, the same upload still under way, or a
/// server, or one between, that is just not there.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::CONFLICT
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_end_with_the_last_try() {
        let mut retry = Retry::new(9);
        let pauses: Vec<Option<u128>> = (0..9)
            .map(|_| retry.fail(None, 1.0).map(|pause| pause.as_millis()))
            .collect();
        let expected = [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000];
        assert_eq!(pauses[..8], expected.map(Some));
        assert_eq!((pauses[8], retry.failed()), (None, 9));
    }

    #[test]
    fn a_pause_is_spread_over_its_upper_half() {
        assert_eq!(Retry::new(2).fail(None, 0.0), Some(FIRST / 2));
    }

    #[test]
    fn what_the_server_asks_for_is_waited_for_and_never_less_than_a_pause() {
        let seconds = Duration::from_secs;
        assert_eq!(Retry::new(2).fail(Some(seconds(7)), 1.0), Some(seconds(7)));
        assert_eq!(Retry::new(2).fail(Some(seconds(0)), 1.0), Some(FIRST));
        assert_eq!(
            Retry::new(2).fail(Some(seconds(90_000)), 1.0),
            Some(LONGEST_ASKED_FOR)
        );
    }

    #[test]
    fn a_single_try_is_the_last() {
        assert_eq!(Retry::new(1).fail(Some(Duration::ZERO), 1.0), None);
    }
}
