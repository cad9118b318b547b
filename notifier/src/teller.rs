//! Whatever tells somebody.

use safelight_database::NotificationClaim;

use crate::mail_teller::MailTeller;
use crate::verdict::Verdict;
use crate::webhook_teller::WebhookTeller;

/// What tells people, or programs. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Teller {
    /// By mail.
    Mail(MailTeller),
    /// By webhook.
    Webhook(WebhookTeller),
}

// === impl Teller ===

impl Teller {
    /// Which notifications are told of together with `claim`, or what is to be done about it instead.
    pub(crate) async fn gather(&self, claim: NotificationClaim) -> Result<Vec<NotificationClaim>, Verdict> {
        match self {
            Self::Mail(mail) => mail.gather(claim).await,
            Self::Webhook(_) => Ok(vec![claim]),
        }
    }

    /// Tells of all of these in one message.
    pub(crate) async fn tell(&self, claims: &[NotificationClaim]) -> Verdict {
        match self {
            Self::Mail(mail) => mail.tell(claims).await,
            Self::Webhook(webhook) => match claims.first() {
                Some(claim) => webhook.tell(claim).await,
                None => Verdict::Sent,
            },
        }
    }
}
