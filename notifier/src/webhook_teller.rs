//! Telling by webhook.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use safelight_database::{Database, NotificationClaim};

use crate::mail::key_text;
use crate::schedule::{after_webhook, spread};
use crate::settings::Settings;
use crate::signature::Secrets;
use crate::verdict::Verdict;
use crate::webhook::{Call, Caller, NotTaken};
use crate::webhook_body::body_of;

/// What webhooks are written and called with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct WebhookTeller {
    pub(crate) database: Database,
    pub(crate) caller: Arc<Caller>,
    pub(crate) secrets: Secrets,
    pub(crate) public_url: Arc<str>,
    pub(crate) settings: Arc<Settings>,
}

// === impl WebhookTeller ===

impl WebhookTeller {
    /// Calls the address of a notification.
    pub(crate) async fn tell(&self, claim: &NotificationClaim) -> Verdict {
        let notifications = self.database.notifications();
        let report = match notifications.disabled(claim).await {
            Ok(Some(why)) => return Verdict::Failed(why),
            Ok(None) => notifications.letter(claim.batch_id).await,
            Err(error) => Err(error),
        };
        let report = match report {
            Ok(Some(report)) => report,
            Ok(None) => return Verdict::Failed("the job is no more".to_owned()),
            Err(error) => {
                return Verdict::Wait {
                    delay: self.settings.wait_delay,
                    why: format!("the job cannot be read: {error}"),
                };
            }
        };
        let body = body_of(&report, &self.public_url);
        let id = format!("msg_{}", key_text(claim.message_key));
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH);
        let timestamp = timestamp.unwrap_or_default().as_secs();
        let signature = self.secrets.sign(&claim.recipient, &id, timestamp, &body);
        let call = Call {
            url: &claim.recipient,
            id: &id,
            timestamp,
            signature: &signature,
            body,
        };
        match self.caller.call(call).await {
            Ok(()) => Verdict::Sent,
            Err(NotTaken::Gone) => Verdict::Closed,
            Err(NotTaken::Refused(why)) => Verdict::Failed(why),
            Err(NotTaken::Later { why, wait }) => {
                let pause = after_webhook(claim.tries + 1).map(|pause| spread(pause, rand::random()));
                // Never sooner than we were asked to.
                Verdict::again_or_failed(pause.map(|pause| pause.max(wait.unwrap_or_default())), why)
            }
        }
    }
}
