//! Where mails go.

use lettre::Address;

use crate::folder::MailFolder;
use crate::smtp::Smtp;

/// Why a mail was not taken, by what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotDelivered {
    /// The mail server is away or wrongly set up: no mail gets through, and this one waits.
    Down(String),
    /// Not now, says the server about this recipient.
    Later(String),
    /// Never, says the server about this recipient or this mail.
    Refused(String),
}

/// Where mails go.
pub(crate) enum Mailer {
    /// To a mail server.
    Smtp(Box<Smtp>),
    /// Into a folder.
    Folder(MailFolder),
    /// Nowhere: none was named.
    Nowhere,
}

/// What is said where none was named.
const NOWHERE: &str = "no mail server is named: set SMTP_URL, or MAIL_FOLDER to have mails written there";

// === impl Mailer ===

impl Mailer {
    /// Whether mails would be taken now.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn check(&self) -> Result<(), String> {
        match self {
            Self::Smtp(smtp) => smtp.check().await,
            Self::Folder(folder) => folder.check().await,
            Self::Nowhere => Err(NOWHERE.to_owned()),
        }
    }

    /// Hands a mail over; `Ok` says that it was taken. `key` tells it from all others: taken twice, it comes twice
    /// with the same Message-ID, and into a folder once.
    pub(crate) async fn deliver(&self, key: &str, to: &Address, mail: Vec<u8>) -> Result<(), NotDelivered> {
        match self {
            Self::Smtp(smtp) => smtp.deliver(to, &mail).await,
            Self::Folder(folder) => folder.deliver(key, mail).await.map_err(NotDelivered::Down),
            Self::Nowhere => Err(NotDelivered::Down(NOWHERE.to_owned())),
        }
    }
}
