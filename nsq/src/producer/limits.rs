//! What nsqd takes, as far as it is known: configured first, learned later.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::ProducerConfig;
use crate::error::{ErrorCode, InvalidMessage, ServerError};
use crate::http::NsqdLimits;

#[derive(Debug)]
pub(super) struct Limits {
    message: AtomicUsize,
    body: AtomicUsize,
    delay_ms: AtomicU64,
    /// More can never be pending here, whatever nsqd takes.
    ceiling: usize,
}

// === impl Limits ===

impl Limits {
    pub(super) fn new(config: &ProducerConfig) -> Self {
        Self {
            message: AtomicUsize::new(config.max_message_size),
            body: AtomicUsize::new(config.max_body_size),
            delay_ms: AtomicU64::new(millis(config.max_delay)),
            ceiling: config.max_pending_bytes,
        }
    }

    /// The longest message.
    pub(super) fn message(&self) -> usize {
        self.message.load(Ordering::Relaxed)
    }

    /// The longest batch, framing included.
    pub(super) fn body(&self) -> usize {
        self.body.load(Ordering::Relaxed)
    }

    /// The longest delay.
    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))
    }

    pub(super) fn check_message(&self, size: usize) -> Result<(), InvalidMessage> {
        let limit = self.message();
        match size {
            0 => Err(InvalidMessage::Empty),
            size if size > limit => Err(InvalidMessage::TooLarge { size, limit }),
            _ => Ok(()),
        }
    }

    pub(super) fn check_delay(&self, delay: Duration) -> Result<(), InvalidMessage> {
        let limit = self.delay();
        if delay > limit {
            return Err(InvalidMessage::DelayTooLong { delay, limit });
        }
        Ok(())
    }

    /// Takes what nsqd itself told, be it more or less.
    pub(super) fn learn(&self, told: NsqdLimits) {
        let sized = |size: usize| size.clamp(1, self.ceiling);
        self.message
            .store(sized(told.max_message_size), Ordering::Relaxed);
        self.body.store(sized(told.max_body_size), Ordering::Relaxed);
        self.delay_ms.store(millis(told.max_delay), Ordering::Relaxed);
    }

    /// Takes what a refusal tells: "PUB message too big 2000 > 1000", "MPUB body too big 9 > 8", or "DPUB
    /// timeout 9 out of range 0-8" (nsqd/protocol_v2.go: PUB, readMPUB, MPUB, DPUB). `true` if a limit was
    /// lowered, so that what broke it would now be seen beforehand.
    pub(super) fn learn_from(&self, refusal: &ServerError) -> bool {
        let last_number = |mark: &str| {
            let (_, number) = refusal.detail.rsplit_once(mark)?;
            number.trim().parse::<u64>().ok().filter(|&number| number > 0)
        };
        let sized = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let too_big = refusal.detail.contains("too big");
        match refusal.code {
            ErrorCode::BadMessage if too_big => last_number("> ")
                .map(sized)
                .is_some_and(|limit| self.message.fetch_min(limit, Ordering::Relaxed) > limit),
            ErrorCode::BadBody if too_big => last_number("> ")
                .map(sized)
                .is_some_and(|limit| self.body.fetch_min(limit, Ordering::Relaxed) > limit),
            ErrorCode::Invalid if refusal.detail.starts_with("DPUB timeout") => last_number("0-")
                .is_some_and(|limit| self.delay_ms.fetch_min(limit, Ordering::Relaxed) > limit),
            _ => false,
        }
    }

    pub(super) fn snapshot(&self) -> NsqdLimits {
        NsqdLimits {
            max_message_size: self.message(),
            max_body_size: self.body(),
            max_delay: self.delay(),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(refusals: &[&str]) -> (Limits, Vec<bool>) {
        let limits = Limits::new(&ProducerConfig::new("unused:1"));
        let learned = refusals
            .iter()
            .map(|refusal| limits.learn_from(&ServerError::parse(refusal.as_bytes())))
            .collect();
        (limits, learned)
    }

    #[test]
    fn a_refusal_for_size_or_delay_teaches_the_limit() {
        let (limits, learned) = learned(&[
            "E_BAD_MESSAGE PUB message too big 2000 > 1000",
            "E_BAD_BODY MPUB body too big 9000 > 8000",
            "E_INVALID DPUB timeout 70000 out of range 0-60000",
        ]);
        assert_eq!(learned, [true, true, true]);
        assert_eq!((limits.message(), limits.body()), (1000, 8000));
        assert_eq!(limits.delay(), Duration::from_secs(60));
    }

    #[test]
    fn other_refusals_and_nonsense_teach_nothing() {
        let (limits, learned) = learned(&[
            "E_BAD_MESSAGE PUB invalid message body size 0",
            "E_BAD_MESSAGE PUB message too big 2000 > many",
            "E_BAD_MESSAGE PUB message too big 2000 > 0",
            "E_BAD_MESSAGE PUB message too big 2000 > 99999999999999",
            "E_PUB_FAILED too big 2 > 1",
            "E_BAD_BODY too big",
        ]);
        assert_eq!(learned, [false; 6]);
        assert_eq!(limits.message(), 1024 * 1024);
    }

    #[test]
    fn what_nsqd_tells_counts_up_and_down_but_never_over_what_may_be_pending() {
        let (limits, _) = learned(&[]);
        limits.learn(NsqdLimits {
            max_message_size: 2 << 20,
            max_body_size: 1 << 40,
            max_delay: Duration::from_secs(1),
        });
        assert_eq!(limits.message(), 2 << 20);
        assert_eq!(limits.body(), 64 << 20);
        assert_eq!(limits.delay(), Duration::from_secs(1));
    }
}
