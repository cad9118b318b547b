//! How the notifier works, with its defaults.

use std::time::Duration;

use crate::digest::DigestRule;

/// How the notifier works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Messages of one channel in work at once, 1 to 256.
    pub concurrency: usize,
    /// How long a claim holds without being renewed. It is renewed at a third of this; when the notifier dies, its
    /// messages are taken over after it.
    pub lease: Duration,
    /// How often the database is asked for what no message brought.
    pub sweep_interval: Duration,
    /// How long a notification must have been due before the sweep takes it, so that messages come first.
    pub sweep_overdue: Duration,
    /// How long a mail is put aside while the mail server is away, beside what the gate holds back.
    pub wait_delay: Duration,
    /// When many mails to one recipient become one.
    pub digest: DigestRule,
    /// How long running work may take to finish after the word to stop; what is left is given back.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: 4,
            lease: Duration::from_secs(60),
            sweep_interval: Duration::from_secs(1),
            sweep_overdue: Duration::from_secs(2),
            wait_delay: Duration::from_secs(1),
            digest: DigestRule::default(),
            drain: Duration::from_secs(10),
        }
    }
}
