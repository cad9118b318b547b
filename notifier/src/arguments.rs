//! The notifier's flags and environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use lettre::message::Mailbox;
use url::Url;

use crate::configuration::Configuration;
use crate::settings::Settings;
use crate::smtp_url::SmtpUrl;

/// What the notifier can be told.
#[derive(Args, Clone, Debug)]
pub struct NotifierArgs {
    /// the mail server: smtp://HOST:PORT, smtp+starttls://USER:PASSWORD@HOST:PORT or
    /// smtps://USER:PASSWORD@HOST:PORT
    #[arg(long, env = "SMTP_URL", hide_env_values = true)]
    pub smtp_url: Option<SmtpUrl>,
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
            ..Settings::default()
        }
    }
}
