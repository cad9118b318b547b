//! The notifier's flags and environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lettre::message::Mailbox;
use url::Url;

use crate::address_guard::Net;
use crate::configuration::Configuration;
use crate::digest::DigestRule;
use crate::settings::Settings;

/// What the notifier can be told.
#[derive(Args, Clone)]
pub struct NotifierArgs {
    /// the mail server: smtp://HOST:PORT, smtp+starttls://USER:PASSWORD@HOST:PORT or
    /// smtps://USER:PASSWORD@HOST:PORT
    #[arg(long, env = "SMTP_URL", hide_env_values = true)]
    pub smtp_url: Option<String>,
    /// a file of the certificate (PEM) that the mail server's must be signed by, in the place of the system's
    #[arg(long, env = "SMTP_CA_FILE")]
    pub smtp_ca_file: Option<PathBuf>,
    /// a folder that mails are written to as files where there is no mail server
    #[arg(long, env = "MAIL_FOLDER")]
    pub mail_folder: Option<PathBuf>,
    /// whom mails are from, such as "Safelight <noreply@example.org>"
    #[arg(long, env = "MAIL_FROM", default_value = "Safelight <safelight@localhost>")]
    pub mail_from: Mailbox,
    /// where the pages of the frontend are, such as https://safelight.example.org: links in mails lead there
    #[arg(long, env = "PUBLIC_URL")]
    pub public_url: Option<Url>,
    /// the most mails that one recipient gets within NOTIFY_DIGEST_WINDOW; what follows becomes one mail. 0: no limit
    #[arg(long, env = "NOTIFY_DIGEST_AFTER", default_value_t = 20)]
    pub notify_digest_after: u32,
    /// seconds over which mails to one recipient are counted, 1 to 86400
    #[arg(long, env = "NOTIFY_DIGEST_WINDOW", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub notify_digest_window: u64,
    /// the secrets that webhooks are signed with, the newest first: whsec_ and 24 to 64 bytes as base64, separated by
    /// commas; without any, webhooks wait
    #[arg(long, env = "WEBHOOK_SECRETS", hide_env_values = true)]
    pub webhook_secrets: Option<String>,
    /// private networks in which webhooks may be called all the same, such as 10.1.0.0/16, separated by commas
    #[arg(long, env = "WEBHOOK_ALLOW_NETS", value_delimiter = ',')]
    pub webhook_allow_nets: Vec<Net>,
    /// whether webhooks may be called by http, where everybody on the way can read along
    #[arg(long, env = "WEBHOOK_ALLOW_HTTP", default_value_t = false, action = clap::ArgAction::Set)]
    pub webhook_allow_http: bool,
    /// a file of certificates (PEM) that webhooks' may be signed by, beside the system's
    #[arg(long, env = "WEBHOOK_CA_FILE")]
    pub webhook_ca_file: Option<PathBuf>,
    /// messages of one channel in work at once, 1 to 256
    #[arg(long, env = "NOTIFY_CONCURRENCY", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub notify_concurrency: u16,
}

/// Where the notifier's own HTTP port listens.
#[derive(Args, Clone, Debug)]
pub struct OpsArgs {
    /// the address and port of /alive, /ready and /metrics, such as 0.0.0.0:8003
    #[arg(long, env = "NOTIFIER_LISTEN", default_value = "127.0.0.1:8003")]
    pub listen: SocketAddr,
}

// === impl NotifierArgs ===

impl NotifierArgs {
    /// What they come to.
    ///
    /// # Errors
    /// What does not fit together, in one line that names the variable.
    pub fn configuration(&self) -> Result<Configuration, String> {
        Configuration::new(self)
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            concurrency: usize::from(self.notify_concurrency),
            digest: DigestRule {
                after: self.notify_digest_after,
                window: Duration::from_secs(self.notify_digest_window),
            },
            ..Settings::default()
        }
    }
}

// The mail server's password and the secrets are nobody's to read.
impl std::fmt::Debug for NotifierArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NotifierArgs")
            .field("mail_folder", &self.mail_folder)
            .field("mail_from", &self.mail_from.to_string())
            .field("public_url", &self.public_url.as_ref().map(Url::as_str))
            .finish_non_exhaustive()
    }
}
