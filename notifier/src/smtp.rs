//! Handing mails to the mail server.

use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{DEFAULT_MECHANISMS, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};

use crate::mailer::NotDelivered;
use crate::smtp_url::{Security, SmtpUrl};

/// How long the server may take to connect, greet and log us in.
const GREETING: Duration = Duration::from_secs(20);
/// How long it may take to answer a command, and to take the mail in.
const ANSWER: Duration = Duration::from_secs(60);

/// A mail server. Every mail has a connection of its own.
pub(crate) struct Smtp {
    server: SmtpUrl,
    tls: Option<TlsParameters>,
    hello: ClientId,
    from: Address,
}

// === impl Smtp ===

impl Smtp {
    /// One that is spoken to as `server` says, and trusts the certificates of `authority` (PEM) alone where it is
    /// given, else those that the system trusts.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub(crate) fn new(server: SmtpUrl, authority: Option<&[u8]>, from: Address) -> Result<Self, String> {
        let tls = match server.security {
            Security::Plain => None,
            Security::StartTls | Security::Tls => {
                let mut builder = TlsParameters::builder(server.host.clone());
                if let Some(pem) = authority {
                    let certificate = Certificate::from_pem(pem).map_err(|error| error.to_string())?;
                    builder = builder
                        .certificate_store(CertificateStore::None)
                        .add_root_certificate(certificate);
                }
                Some(builder.build_rustls().map_err(|error| error.to_string())?)
            }
        };
        let hello = ClientId::Domain(from.domain().to_owned());
        Ok(Self {
            server,
            tls,
            hello,
            from,
        })
    }

    /// Whether the server would take a mail from us.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let mut connection = within(GREETING, self.connect()).await.map_err(said)?;
        let accepted = within(
            ANSWER,
            connection.command(Mail::new(Some(self.from.clone()), Vec::new())),
        );
        let accepted = accepted.await;
        quit(connection).await;
        accepted
            .map(drop)
            .map_err(|fault| format!("it takes no mail from {}: {}", self.from, said(fault)))
    }

    /// Hands a mail over. `Ok` says that the server has taken it.
    pub(crate) async fn deliver(&self, to: &Address, mail: &[u8]) -> Result<(), NotDelivered> {
        let down = |fault: Fault| NotDelivered::Down(said(fault));
        let mut connection = within(GREETING, self.connect()).await.map_err(down)?;
        let mut parameters = Vec::new();
        if !to.to_string().is_ascii() || !self.from.to_string().is_ascii() {
            if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
                quit(connection).await;
                return Err(NotDelivered::Refused(
                    "the mail server takes plain ASCII addresses only".to_owned(),
                ));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        // Whom we send as is our set-up's affair, and so is a server that does not like it.
        let mail_from = Mail::new(Some(self.from.clone()), parameters);
        within(ANSWER, connection.command(mail_from))
            .await
            .map_err(down)?;
        let recipient = Rcpt::new(to.clone(), Vec::new());
        let handed_over = async {
            within(ANSWER, connection.command(recipient)).await?;
            within(ANSWER, connection.command(Data)).await?;
            within(ANSWER, connection.message(mail)).await
        };
        match handed_over.await {
            Ok(_) => {
                // It has the mail; whether it says goodbye does not matter.
                quit(connection).await;
                Ok(())
            }
            Err(fault) => Err(judge(fault)),
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let wrapped = match self.server.security {
            Security::Tls => self.tls.clone(),
            Security::Plain | Security::StartTls => None,
        };
        let address = (self.server.host.as_str(), self.server.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(GREETING), &self.hello, wrapped, None).await?;
        if let (Security::StartTls, Some(tls)) = (self.server.security, &self.tls) {
            connection.starttls(tls.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.server.credentials {
            let mechanisms: &[Mechanism] = DEFAULT_MECHANISMS;
            connection.auth(mechanisms, credentials).await?;
        }
        Ok(connection)
    }
}

/// How a step went wrong.
enum Fault {
    Late(Duration),
    Smtp(Error),
}

async fn within<T>(limit: Duration, step: impl Future<Output = Result<T, Error>>) -> Result<T, Fault> {
    match tokio::time::timeout(limit, step).await {
        Ok(outcome) => outcome.map_err(Fault::Smtp),
        Err(_) => Err(Fault::Late(limit)),
    }
}

/// What it means that a mail was not taken once the recipient was named.
fn judge(fault: Fault) -> NotDelivered {
    let status = match &fault {
        Fault::Smtp(error) => error.status().map(u16::from),
        Fault::Late(_) => None,
    };
    match status {
        // It is closing, or wants a login: that is not about this mail.
        None | Some(421 | 454 | 530 | 534 | 535 | 538) => NotDelivered::Down(said(fault)),
        Some(400..500) => NotDelivered::Later(said(fault)),
        Some(_) => NotDelivered::Refused(said(fault)),
    }
}

/// For people: the server's own words where it said something.
fn said(fault: Fault) -> String {
    match fault {
        Fault::Late(limit) => format!("the mail server did not answer within {} s", limit.as_secs()),
        Fault::Smtp(error) => match std::error::Error::source(&error) {
            Some(cause) if error.status().is_some() => {
                let code = error.status().map(u16::from).unwrap_or_default();
                format!("the mail server says {code}: {cause}")
            }
            _ => error.to_string(),
        },
    }
}

async fn quit(mut connection: AsyncSmtpConnection) {
    const GOODBYE: Duration = Duration::from_secs(2);
    let _ = tokio::time::timeout(GOODBYE, connection.quit()).await;
}
