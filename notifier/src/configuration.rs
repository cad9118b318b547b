//! What the notifier's arguments come to.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use lettre::message::Mailbox;

use crate::address_guard::AddressGuard;
use crate::arguments::NotifierArgs;
use crate::folder::MailFolder;
use crate::mailer::Mailer;
use crate::settings::Settings;
use crate::signature::Secrets;
use crate::smtp::Smtp;
use crate::smtp_url::SmtpUrl;
use crate::webhook::Caller;

/// Where the pages are when nobody says so: where `safelight up` has them.
const LOCAL_PAGES: &str = "http://127.0.0.1:8081";

/// Where messages go, and how.
#[derive(Clone)]
pub struct Configuration {
    pub(crate) mailer: Arc<Mailer>,
    pub(crate) from: Mailbox,
    pub(crate) public_url: Arc<str>,
    pub(crate) caller: Arc<Caller>,
    /// Without them webhooks wait.
    pub(crate) secrets: Option<Secrets>,
    /// How to work.
    pub settings: Settings,
}

// === impl Configuration ===

impl Configuration {
    pub(crate) fn new(args: &NotifierArgs) -> Result<Self, String> {
        let public_url = match &args.public_url {
            Some(url) if matches!(url.scheme(), "http" | "https") && url.query().is_none() => {
                url.as_str().trim_end_matches('/').to_owned()
            }
            Some(url) => {
                return Err(format!(
                    "PUBLIC_URL: '{url}' was given; expected where the pages are, such as https://safelight.example.org"
                ));
            }
            None if args.smtp_url.is_some() => {
                return Err(
                    "PUBLIC_URL: not set, and SMTP_URL is; expected where the pages are, such as \
                     https://safelight.example.org, for the links in mails"
                        .to_owned(),
                );
            }
            None => LOCAL_PAGES.to_owned(),
        };
        let mailer = match (&args.smtp_url, &args.mail_folder) {
            (Some(url), _) => {
                let server: SmtpUrl = url.parse().map_err(|why| format!("SMTP_URL: {why}"))?;
                let authority = certificates("SMTP_CA_FILE", args.smtp_ca_file.as_deref())?;
                let smtp = Smtp::new(server, authority.as_deref(), args.mail_from.email.clone())
                    .map_err(|error| format!("SMTP_CA_FILE: {error}; expected a certificate as PEM"))?;
                Mailer::Smtp(Box::new(smtp))
            }
            (None, Some(folder)) => Mailer::Folder(MailFolder::new(folder)),
            (None, None) => Mailer::Nowhere,
        };
        let secrets = match &args.webhook_secrets {
            Some(text) => Some(Secrets::parse(text).map_err(|why| format!("WEBHOOK_SECRETS: {why}"))?),
            None => None,
        };
        let guard = AddressGuard::new(args.webhook_allow_nets.clone());
        let authority = certificates("WEBHOOK_CA_FILE", args.webhook_ca_file.as_deref())?;
        let caller = Caller::new(guard, args.webhook_allow_http, authority.as_deref())
            .map_err(|error| format!("WEBHOOK_CA_FILE: {error}; expected certificates as PEM"))?;
        Ok(Self {
            mailer: Arc::new(mailer),
            from: args.mail_from.clone(),
            public_url: public_url.into(),
            caller: Arc::new(caller),
            secrets,
            settings: args.settings(),
        })
    }
}

/// What is in the file that this variable names.
fn certificates(variable: &str, path: Option<&Path>) -> Result<Option<Vec<u8>>, String> {
    let Some(path) = path else { return Ok(None) };
    match std::fs::read(path) {
        Ok(pem) => Ok(Some(pem)),
        Err(error) => Err(format!(
            "{variable}: '{}' was given ({error}); expected a file of certificates as PEM",
            path.display()
        )),
    }
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration")
            .field("from", &self.from.to_string())
            .field("public_url", &self.public_url)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
