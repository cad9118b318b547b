//! What the notifier's arguments come to.

use std::fmt;
use std::sync::Arc;

use lettre::message::Mailbox;

use crate::arguments::NotifierArgs;
use crate::folder::MailFolder;
use crate::mailer::Mailer;
use crate::settings::Settings;
use crate::smtp::Smtp;

/// Where the pages are when nobody says so: where `safelight up` has them.
const LOCAL_PAGES: &str = "http://127.0.0.1:8081";

/// Where messages go, and how.
#[derive(Clone)]
pub struct Configuration {
    pub(crate) mailer: Arc<Mailer>,
    pub(crate) from: Mailbox,
    pub(crate) public_url: Arc<str>,
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
            (Some(server), _) => {
                let authority = match &args.smtp_ca_file {
                    Some(path) => Some(std::fs::read(path).map_err(|error| {
                        format!(
                            "SMTP_CA_FILE: '{}' was given ({error}); expected a file of certificates",
                            path.display()
                        )
                    })?),
                    None => None,
                };
                let smtp = Smtp::new(server.clone(), authority.as_deref(), args.mail_from.email.clone())
                    .map_err(|error| format!("SMTP_CA_FILE: {error}; expected a certificate as PEM"))?;
                Mailer::Smtp(Box::new(smtp))
            }
            (None, Some(folder)) => Mailer::Folder(MailFolder::new(folder)),
            (None, None) => Mailer::Nowhere,
        };
        Ok(Self {
            mailer: Arc::new(mailer),
            from: args.mail_from.clone(),
            public_url: public_url.into(),
            settings: args.settings(),
        })
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
