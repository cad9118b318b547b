//! Whom to tell when the work has ended: addresses of mail and of webhooks, checked at the door.

use safelight_database::NewBatch;
use safelight_service::Problem;
use url::Url;

use crate::problems;

/// RFC 5321, 4.5.3.1.3: what a server has to take, without its angle brackets.
const LONGEST_EMAIL: usize = 254;
/// RFC 5321, 4.5.3.1.1.
const LONGEST_LOCAL: usize = 64;
/// RFC 1035, 2.3.4.
const LONGEST_LABEL: usize = 63;
/// What the database keeps of a URL.
const LONGEST_WEBHOOK: usize = 2048;

/// An address that a mail can be sent to: `local@domain`, in ASCII, of plain words parted by dots.
///
/// That is less than RFC 5321 allows, and all that people have: no quoted words, no addresses of hosts, no domain
/// without a dot. Nothing in it can end a line of a protocol or of a header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EmailAddress(String);

/// A URL that may be called: `https` (or `http` where that is allowed), without a login.
///
/// Whether its host may be called is found out when it is: names change what they mean.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WebhookUrl(Url);

/// Whom to tell; nobody, where both are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Following {
    pub(crate) email: Option<EmailAddress>,
    pub(crate) webhook: Option<WebhookUrl>,
}

// === impl EmailAddress ===

impl EmailAddress {
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.len() > LONGEST_EMAIL {
            return Err("it is longer than 254 bytes");
        }
        if text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return Err(
                "it has a space, a line break or a control character in it (in a query a + is written %2B)",
            );
        }
        if !text.is_ascii() {
            return Err("only ASCII is taken; write the domain in its form with xn--");
        }
        let Some((local, domain)) = text.rsplit_once('@') else {
            return Err("it has no @");
        };
        if !is_local(local) {
            return Err(
                "what stands before the @ is not plain words of letters, digits and !#$%&'*+-/=?^_`{|}~, \
                        parted by dots",
            );
        }
        if !is_domain(domain) {
            return Err("what stands after the @ is no domain such as example.org");
        }
        Ok(Self(text.to_owned()))
    }
}

fn is_local(local: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    local.len() <= LONGEST_LOCAL
        && local
            .split('.')
            .all(|word| !word.is_empty() && word.bytes().all(allowed))
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // The last one of an IPv4 address is a number, and no domain ends in one.
    let is_numeric = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    match domain.rsplit_once('.') {
        Some((_, last)) => !is_numeric(last) && domain.split('.').all(is_label),
        None => false,
    }
}

// === impl WebhookUrl ===

impl WebhookUrl {
    pub(crate) fn parse(text: &str, http_allowed: bool) -> Result<Self, &'static str> {
        // The parser would take line breaks and tabs out of it.
        if text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
            return Err("it has a space, a line break or a control character in it");
        }
        let mut url = Url::parse(text).map_err(|_| "it is no URL such as https://example.org/told")?;
        match url.scheme() {
            "https" => {}
            "http" if http_allowed => {}
            "http" => {
                return Err("it has to begin with https:// (WEBHOOK_ALLOW_HTTP=true takes http:// too)");
            }
            _ => return Err("it has to begin with https://"),
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("it names no host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it has a login in it; let a secret part of its path stand for that");
        }
        match url.port_or_known_default() {
            Some(443 | 8443 | 1024..) => {}
            Some(80) if url.scheme() == "http" => {}
            _ => return Err("its port is neither 443 nor 1024 or above"),
        }
        url.set_fragment(None);
        if url.as_str().len() > LONGEST_WEBHOOK {
            return Err("it is longer than 2048 bytes");
        }
        Ok(Self(url))
    }
}

// === impl Following ===

impl Following {
    pub(crate) fn parse(
        email: Option<&str>,
        webhook: Option<&str>,
        http_allowed: bool,
    ) -> Result<Self, Problem> {
        let email = email.map(|text| EmailAddress::parse(text).map_err(problems::email_refused));
        let webhook =
            webhook.map(|text| WebhookUrl::parse(text, http_allowed).map_err(problems::webhook_refused));
        Ok(Self {
            email: email.transpose()?,
            webhook: webhook.transpose()?,
        })
    }

    pub(crate) fn is_nobody(&self) -> bool {
        self.email.is_none() && self.webhook.is_none()
    }

    /// The batch of what is followed. Senders are served in turn, and a project is one sender whoever is told.
    pub(crate) fn batch(&self, project: Option<&str>) -> NewBatch {
        let project = project.map(|project| format!("project:{project}"));
        let mail = || {
            let email = self.email.as_ref()?;
            Some(format!("mail:{}", email.0.to_ascii_lowercase()))
        };
        let hook = || {
            let host = self.webhook.as_ref()?.0.host_str()?;
            Some(format!("hook:{host}"))
        };
        NewBatch {
            sender: project.or_else(mail).or_else(hook),
            email: self.email.as_ref().map(|email| email.0.clone()),
            webhook: self.webhook.as_ref().map(|webhook| webhook.0.to_string()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_have_them_are_taken_as_they_are() {
        let long = format!("{}@{}.example.org", "a".repeat(64), "b".repeat(63));
        for text in [
            "a@b.c",
            "Jo.O'Neil+cats@mail.example.org",
            "x_y-z@xn--bcher-kva.example",
            &long,
        ] {
            assert_eq!(EmailAddress::parse(text), Ok(EmailAddress(text.to_owned())));
        }
    }

    #[test]
    fn whatever_could_be_more_than_an_address_is_refused() {
        let long_local = format!("{}@b.c", "a".repeat(65));
        let long_label = format!("a@{}.org", "b".repeat(64));
        let long = format!("a@{}c", "b.".repeat(126));
        for text in [
            "",
            "a",
            "@b.c",
            "a@",
            "a@b",
            "a@.c",
            "a@b.",
            "a@b..c",
            ".a@b.c",
            "a.@b.c",
            "a..b@b.c",
            "a b@b.c",
            " a@b.c",
            "a@b.c ",
            "a@b.c\r\nBcc: x@y.z",
            "a@b.c\n",
            "a\0@b.c",
            "a@b.c,x@y.z",
            "A <a@b.c>",
            "\"a b\"@b.c",
            "\"a\"@b.c",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a@-b.c",
            "a@b-.c",
            "a@b_c.d",
            "\u{e4}@b.c",
            "a@\u{e4}.c",
            "a@x@b.c",
            &long_local,
            &long_label,
            &long,
        ] {
            assert!(EmailAddress::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn webhooks_are_urls_of_https_without_a_login() {
        for text in [
            "https://example.org/told?by=us",
            "https://example.org:8443/",
            "https://[2001:db8::1]:9000/",
        ] {
            assert_eq!(WebhookUrl::parse(text, false).unwrap().0.as_str(), text);
        }
        let plain = WebhookUrl::parse("https://EXAMPLE.org/a#part", false).unwrap();
        assert_eq!(plain.0.as_str(), "https://example.org/a");

        let long = format!("https://example.org/{}", "a".repeat(2048));
        for text in [
            "",
            "example.org",
            "http://example.org/",
            "ftp://example.org/",
            "file:///etc/passwd",
            "https://user@example.org/",
            "https://user:password@example.org/",
            "https://example.org:22/",
            "https://example.org:80/",
            "https://",
            "https://exa mple.org/",
            "https://example.org/\r\nHost: other",
            "https://example.org/\t",
            &long,
        ] {
            assert!(WebhookUrl::parse(text, false).is_err(), "{text:?}");
        }
    }

    #[test]
    fn http_is_taken_where_that_is_allowed() {
        assert!(WebhookUrl::parse("http://example.org/", true).is_ok());
        assert!(WebhookUrl::parse("http://127.0.0.1:9000/", true).is_ok());
        assert!(WebhookUrl::parse("http://example.org:25/", true).is_err());
    }

    #[test]
    fn the_sender_is_the_project_or_whoever_is_told() {
        let following = |email, webhook| Following::parse(email, webhook, false).unwrap();
        let sender = |following: &Following, project| following.batch(project).sender;
        let both = following(Some("Jo@b.c"), Some("https://example.org/1"));
        assert_eq!(sender(&both, Some("door")).as_deref(), Some("project:door"));
        assert_eq!(sender(&both, None).as_deref(), Some("mail:jo@b.c"));
        let hook = following(None, Some("https://example.org/1"));
        assert_eq!(sender(&hook, None).as_deref(), Some("hook:example.org"));
        assert_eq!(both.batch(None).email.as_deref(), Some("Jo@b.c"));
        assert_eq!(both.batch(None).webhook.as_deref(), Some("https://example.org/1"));
        assert!(following(None, None).is_nobody() && !hook.is_nobody());
    }
}
