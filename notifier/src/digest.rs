//! When many mails to one recipient become one.

use std::time::Duration;

use safelight_database::Correspondence;

/// How many mails somebody gets before what follows is gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestRule {
    /// The most mails that one recipient gets within the window; 0 for as many as there are jobs.
    pub after: u32,
    /// The window.
    pub window: Duration,
}

/// What is to be done about a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes out by itself.
    Alone,
    /// It goes out together with all others that wait for its recipient.
    Together,
    /// The recipient had enough mails for now: it waits for so long.
    Hold(Duration),
}

// === impl DigestRule ===

impl DigestRule {
    /// Decides about one mail, given how much its recipient was told of late.
    ///
    /// While everything that waits for somebody fits beside what they had already, each job has a mail of its own.
    pub fn decide(&self, told: &Correspondence) -> Decision {
        if self.after == 0 {
            return Decision::Alone;
        }
        if told.sent >= self.after {
            let ago = told.first_sent.unwrap_or_default();
            return Decision::Hold(self.window.saturating_sub(ago).max(SHORTEST_HOLD));
        }
        let with_this = told.sent.saturating_add(told.waiting).saturating_add(1);
        if with_this <= self.after {
            Decision::Alone
        } else {
            Decision::Together
        }
    }
}

/// The window's end is when its first mail leaves it, and never just now.
const SHORTEST_HOLD: Duration = Duration::from_millis(50);

impl Default for DigestRule {
    fn default() -> Self {
        Self {
            after: 20,
            window: Duration::from_secs(60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(sent: u32, waiting: u32) -> Decision {
        let told = Correspondence {
            sent,
            first_sent: (sent > 0).then_some(Duration::from_secs(45)),
            waiting,
        };
        DigestRule::default().decide(&told)
    }

    #[test]
    fn a_few_jobs_have_a_mail_each() {
        assert_eq!(decide(0, 0), Decision::Alone);
        assert_eq!(decide(0, 19), Decision::Alone);
        assert_eq!(decide(19, 0), Decision::Alone);
    }

    #[test]
    fn what_would_be_a_flood_goes_together() {
        assert_eq!(decide(0, 20), Decision::Together);
        assert_eq!(decide(0, 499), Decision::Together);
        assert_eq!(decide(19, 1), Decision::Together);
    }

    #[test]
    fn who_had_enough_is_told_when_the_first_mail_is_a_window_old() {
        assert_eq!(decide(20, 0), Decision::Hold(Duration::from_secs(15)));
        assert_eq!(decide(99, 99), Decision::Hold(Duration::from_secs(15)));
    }

    #[test]
    fn a_limit_of_nothing_is_no_limit() {
        let rule = DigestRule {
            after: 0,
            ..DigestRule::default()
        };
        let told = Correspondence {
            sent: 1000,
            first_sent: Some(Duration::ZERO),
            waiting: 1000,
        };
        assert_eq!(rule.decide(&told), Decision::Alone);
    }

    /// Jobs that come one a second for an hour, against a window that is counted by hand.
    #[test]
    fn nobody_gets_more_mails_in_a_window_than_the_rule_says() {
        let rule = DigestRule::default();
        let window = rule.window.as_secs();
        let (mut sent, mut waiting) = (Vec::<u64>::new(), 0);
        let mut told = 0;
        for now in 0..3600 {
            waiting += 1;
            let recent: Vec<u64> = sent.iter().copied().filter(|at| at + window > now).collect();
            let correspondence = Correspondence {
                sent: recent.len() as u32,
                first_sent: recent.first().map(|at| Duration::from_secs(now - at)),
                waiting: waiting - 1,
            };
            match rule.decide(&correspondence) {
                Decision::Alone => (told, waiting) = (told + 1, waiting - 1),
                Decision::Together => (told, waiting) = (told + waiting, 0),
                Decision::Hold(_) => continue,
            }
            sent.push(now);
            let within = sent.iter().filter(|at| **at + window > now).count();
            assert!(within <= 20, "{within} mails in the window that ends at {now}");
        }
        assert!(
            told + waiting == 3600 && waiting <= 60,
            "{waiting} are not told of"
        );
        assert!(sent.len() > 600, "{} mails", sent.len());
    }
}
