//! The mail server, as it is configured.

use std::net::IpAddr;

use lettre::transport::smtp::authentication::Credentials;
use url::Url;

/// What `SMTP_URL` may be.
const EXPECTED: &str =
    "smtp://HOST:PORT, smtp+starttls://USER:PASSWORD@HOST:PORT or smtps://USER:PASSWORD@HOST:PORT";

/// How the connection is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all: for a server on this machine or in a network of one's own.
    Plain,
    /// By STARTTLS, before anything else is said. A server that does not offer it is not used.
    StartTls,
    /// By TLS from the first byte.
    Tls,
}

/// Where the mail server is, and how it is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpUrl {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is secured.
    pub security: Security,
    /// Whom to log in as.
    pub credentials: Option<Credentials>,
}

impl std::str::FromStr for SmtpUrl {
    type Err = String;

    /// What is said of a URL that is wrong does not hold it: it may hold a password.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{why}; expected {EXPECTED}");
        let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        let (security, port) = match url.scheme() {
            "smtp" => (Security::Plain, 25),
            "smtp+starttls" => (Security::StartTls, 587),
            "smtps" => (Security::Tls, 465),
            other => return Err(wrong(&format!("the scheme {other} is not known"))),
        };
        let host = url.host_str().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(wrong("something follows the port"));
        }
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, Some(password)) if !user.is_empty() => {
                Some(Credentials::new(decoded(user)?, decoded(password)?))
            }
            _ => return Err(wrong("a user needs a password, and a password a user")),
        };
        if credentials.is_some() && security == Security::Plain && !is_this_machine(&host) {
            return Err(wrong("the password would travel in the clear"));
        }
        Ok(Self {
            host,
            port: url.port().unwrap_or(port),
            security,
            credentials,
        })
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A part of a URL with its `%40` and the like resolved.
fn decoded(part: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.map(|hex| u8::from_str_radix(hex, 16)) {
            Some(Ok(byte)) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| "the user or the password is not UTF-8".to_owned())
}

// The password is nobody's to read.
impl std::fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpUrl")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("security", &self.security)
            .field("logs_in", &self.credentials.is_some())
            .finish()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_says_how_the_connection_is_secured_and_gives_the_port() {
        for (text, security, port) in [
            ("smtp://mail.example", Security::Plain, 25),
            ("smtp+starttls://mail.example", Security::StartTls, 587),
            ("smtps://mail.example", Security::Tls, 465),
            ("smtps://mail.example:4650/", Security::Tls, 4650),
        ] {
            let url: SmtpUrl = text.parse().unwrap();
            assert_eq!(
                (url.host.as_str(), url.security, url.port),
                ("mail.example", security, port)
            );
            assert!(url.credentials.is_none());
        }
        let url: SmtpUrl = "smtp://[::1]:2525".parse().unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", 2525));
    }

    #[test]
    fn a_user_and_a_password_may_hold_any_character() {
        let url: SmtpUrl = "smtps://me%40here:p%3Aw%C3%A4%25@mail.example".parse().unwrap();
        let credentials = Credentials::new("me@here".to_owned(), "p:wä%".to_owned());
        assert!(url.credentials == Some(credentials));
    }

    #[test]
    fn a_password_is_not_sent_in_the_clear_to_another_machine() {
        assert!("smtp://a:b@mail.example".parse::<SmtpUrl>().is_err());
        assert!("smtp://a:b@127.0.0.1:25".parse::<SmtpUrl>().is_ok());
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for text in [
            "mail.example",
            "http://a:secret@mail.example",
            "smtps://:secret@mail.example",
            "smtps://a:secret@mail.example/inbox",
            "smtp://a:secret@mail.example",
            "smtps://a:secret@",
        ] {
            let told = text.parse::<SmtpUrl>().unwrap_err();
            assert!(!told.contains("secret"), "{told}");
            assert!(told.contains("expected smtp://"), "{told}");
        }
        let url: SmtpUrl = "smtps://a:secret@mail.example".parse().unwrap();
        assert!(!format!("{url:?}").contains("secret"));
    }
}
