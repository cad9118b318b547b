//! Telling by mail.

use std::sync::Arc;

use lettre::Address;
use lettre::message::Mailbox;
use safelight_database::{Database, Error, JobReport, NotificationClaim};
use safelight_store::Store;

use crate::digest::Decision;
use crate::gate::Gate;
use crate::letter::{self, Letter};
use crate::mail::{compose, key_text};
use crate::mailer::{Mailer, NotDelivered};
use crate::pictures::pictures_of;
use crate::schedule::{after_mail, spread};
use crate::settings::Settings;
use crate::verdict::Verdict;

/// The most jobs that one mail tells of.
const MOST_TOGETHER: u32 = 100;

/// What mails are written and sent with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MailTeller {
    pub(crate) database: Database,
    pub(crate) mailer: Arc<Mailer>,
    pub(crate) gate: Gate,
    /// Where the pictures lie that are shown in mails.
    pub(crate) store: Option<Store>,
    pub(crate) from: Mailbox,
    pub(crate) public_url: Arc<str>,
    pub(crate) settings: Arc<Settings>,
}

// === impl MailTeller ===

impl MailTeller {
    /// Which notifications go out in one mail with `claim`, or what is to be done about it instead.
    pub(crate) async fn gather(&self, claim: NotificationClaim) -> Result<Vec<NotificationClaim>, Verdict> {
        let rule = self.settings.digest;
        let notifications = self.database.notifications();
        let unread = |error: Error| self.wait(format!("the mails before it cannot be read: {error}"));
        let told = notifications
            .correspondence(&claim, rule.window)
            .await
            .map_err(unread)?;
        match rule.decide(&told) {
            Decision::Alone => Ok(vec![claim]),
            Decision::Together => {
                let together = notifications.claim_of_recipient(&claim, MOST_TOGETHER - 1).await;
                together.map_err(unread)
            }
            Decision::Hold(delay) => Err(Verdict::Later(delay)),
        }
    }

    /// Sends one mail about all of these.
    pub(crate) async fn tell(&self, claims: &[NotificationClaim]) -> Verdict {
        let Some(first) = claims.first() else {
            return Verdict::Sent;
        };
        let to: Address = match first.recipient.parse() {
            Ok(to) => to,
            Err(error) => return Verdict::Failed(format!("the address cannot be written to: {error}")),
        };
        let letter = match self.write(claims).await {
            Ok(Some(letter)) => letter,
            Ok(None) => return Verdict::Failed("the job is no more".to_owned()),
            Err(error) => return self.wait(format!("the job cannot be read: {error}")),
        };
        let key = key_text(first.message_key);
        let mail = match compose(&letter, &self.from, &to, &key, first.batch_id) {
            Ok(mail) => mail,
            Err(why) => return Verdict::Failed(format!("no mail can be made of it: {why}")),
        };
        match self.mailer.deliver(&key, &to, mail).await {
            Ok(()) => Verdict::Sent,
            Err(NotDelivered::Refused(why)) => Verdict::Failed(why),
            Err(NotDelivered::Later(why)) => {
                // What came last has all its tries before it.
                let tries = claims.iter().map(|claim| claim.tries).min().unwrap_or_default();
                let pause = after_mail(tries + 1).map(|pause| spread(pause, rand::random()));
                Verdict::again_or_failed(pause, why)
            }
            Err(NotDelivered::Down(why)) => {
                self.gate.close(&why);
                self.wait(why)
            }
        }
    }

    fn wait(&self, why: String) -> Verdict {
        Verdict::Wait {
            delay: self.settings.wait_delay,
            why,
        }
    }

    async fn write(&self, claims: &[NotificationClaim]) -> Result<Option<Letter>, Error> {
        let notifications = self.database.notifications();
        match claims {
            [only] => {
                let Some(report) = notifications.letter(only.batch_id).await? else {
                    return Ok(None);
                };
                Ok(Some(self.of_job(&report).await))
            }
            _ => {
                let jobs: Vec<i64> = claims.iter().map(|claim| claim.batch_id).collect();
                let summaries = notifications.summaries(&jobs).await?;
                Ok((!summaries.is_empty()).then(|| Letter::of_jobs(&summaries, &self.public_url)))
            }
        }
    }

    async fn of_job(&self, report: &JobReport) -> Letter {
        let pictures = match &self.store {
            Some(store) => pictures_of(store, letter::showable(report)).await,
            None => Vec::new(),
        };
        Letter::of_job(report, &self.public_url, pictures)
    }
}
