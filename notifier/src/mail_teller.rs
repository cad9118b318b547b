//! Telling by mail.

use std::sync::Arc;

use lettre::Address;
use lettre::message::Mailbox;
use safelight_database::{Database, Error, JobReport, NotificationClaim};
use safelight_store::Store;

use crate::gate::Gate;
use crate::letter::{self, Letter};
use crate::mail::{compose, key_text};
use crate::mailer::{Mailer, NotDelivered};
use crate::pictures::pictures_of;
use crate::schedule::{after_mail, spread};
use crate::settings::Settings;
use crate::verdict::Verdict;

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
        Ok(vec![claim])
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
                let pause = after_mail(first.tries + 1).map(|pause| spread(pause, rand::random()));
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
            _ => Ok(None),
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
