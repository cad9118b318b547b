//! A letter as a mail.
//!
//! Every part is written as quoted-printable or base64, so that no line end and no lone dot of others' text stands in
//! the message as it is: lettre before 0.11.24 does not escape all of them (RUSTSEC-2026-0561).

use lettre::message::header::{
    ContentDisposition, ContentId, ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue,
};
use lettre::message::{Body, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message};

use crate::letter::{Letter, Picture};

/// Says that no person wrote it, and that no machine is to answer (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

/// The job that is told of.
#[derive(Clone)]
struct Job(String);

/// The id of a message and of the files it may become: the same for the same key.
pub(crate) fn key_text(message_key: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(message_key))
}

/// The bytes of a mail. `key` tells it from all others, and is the same at every try.
///
/// # Errors
/// It cannot be a mail, which only a strange address can make happen.
pub(crate) fn compose(
    letter: &Letter,
    from: &Mailbox,
    to: &Address,
    key: &str,
    job: i64,
) -> Result<Vec<u8>, String> {
    let html = part(ContentType::TEXT_HTML, &letter.html);
    let mut related = MultiPart::related().singlepart(html);
    for picture in &letter.pictures {
        related = related.singlepart(inline(picture));
    }
    let alternative = MultiPart::alternative().singlepart(part(ContentType::TEXT_PLAIN, &letter.text));
    let message = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to.clone()))
        .subject(letter.subject.clone())
        .message_id(Some(format!("<{key}@{}>", from.email.domain())))
        .header(AutoSubmitted)
        .header(Job(job.to_string()))
        .multipart(alternative.multipart(related))
        .map_err(|error| error.to_string())?;
    Ok(message.formatted())
}

/// The line ends of a text are lines of the mail (RFC 2045, 6.7, rule 4).
fn part(content_type: ContentType, text: &str) -> SinglePart {
    let lines: String = text.lines().flat_map(|line| [line, "\r\n"]).collect();
    SinglePart::builder().header(content_type).body(encoded(
        lines.into_bytes(),
        ContentTransferEncoding::QuotedPrintable,
    ))
}

fn inline(picture: &Picture) -> SinglePart {
    let content_type = ContentType::parse(&picture.content_type);
    let binary = || ContentType::parse("application/octet-stream").unwrap_or(ContentType::TEXT_PLAIN);
    SinglePart::builder()
        .header(content_type.unwrap_or_else(|_| binary()))
        .header(ContentId::from(format!("<{}>", picture.content_id)))
        .header(ContentDisposition::inline())
        .body(encoded(picture.bytes.clone(), ContentTransferEncoding::Base64))
}

/// Bytes are taken for no text here, whose line ends would be made anew.
fn encoded(bytes: Vec<u8>, encoding: ContentTransferEncoding) -> Body {
    match Body::new_with_encoding(bytes, encoding) {
        Ok(body) => body,
        // Both encodings take all bytes.
        Err(bytes) => Body::new(bytes),
    }
}

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

impl Header for Job {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("X-Safelight-Job")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.to_owned()))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.clone())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::letter::tests::{image, report};

    fn mail(name: &str) -> String {
        let picture = Picture {
            content_id: "picture-3@safelight".to_owned(),
            content_type: "image/png".to_owned(),
            bytes: b"\r\n.\r\n\rpicture\n".to_vec(),
        };
        let letter = Letter::of_job(
            &report(vec![image(3, name)]),
            "https://safelight.example",
            vec![(3, picture)],
        );
        let from = "Safelight <noreply@safelight.example>".parse().unwrap();
        let bytes = compose(&letter, &from, &"a@b.example".parse().unwrap(), "ab12", 7).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_mail_names_itself_by_its_key_and_says_that_a_machine_wrote_it() {
        let mail = mail("cat.png");
        let (head, body) = mail.split_once("\r\n\r\n").unwrap();
        for line in [
            "Message-ID: <ab12@safelight.example>",
            "Auto-Submitted: auto-generated",
            "X-Safelight-Job: 7",
            "To: a@b.example",
            "Subject: done: cat.png",
        ] {
            assert!(
                head.lines().any(|found| found == line),
                "{line} is not in:\n{head}"
            );
        }
        // A long line is broken where it is long, in the middle of a word, too.
        let body = body.replace("=\r\n", "");
        assert!(body.contains("Content-ID: <picture-3@safelight>"), "{body}");
        assert!(body.contains("cid:picture-3@safelight"), "{body}");
    }

    #[test]
    fn no_text_of_others_leaves_a_bare_line_end_or_a_lone_dot() {
        for name in ["a\n.\nb", "a\r.\r.\r\n", "a\r\n.\r\nb", ".", "\n\n\r\r"] {
            let mail = mail(name);
            let bare = mail.replace("\r\n", "");
            assert!(!bare.contains(['\r', '\n']), "{name:?}");
            assert!(mail.lines().all(|line| line != "."), "{name:?}");
        }
    }

    #[test]
    fn the_lines_of_a_text_are_lines_of_the_mail() {
        let mail = mail("cat.png");
        assert!(!mail.contains("=0A") && !mail.contains("=0D"), "{mail}");
    }

    #[test]
    fn no_name_adds_a_header() {
        let names = |mail: &str| -> Vec<String> {
            let head = mail.split_once("\r\n\r\n").unwrap().0.to_owned();
            let lines = head.lines().filter(|line| !line.starts_with(' '));
            lines
                .map(|line| line.split(':').next().unwrap_or_default().to_owned())
                .collect()
        };
        let plain = names(&mail("cat.png"));
        for name in [
            "a\r\nBcc: x@y.example",
            "a\nBcc: x@y.example",
            "=?utf-8?q?a=0D=0ABcc:_x?=",
            "a\0b",
        ] {
            assert_eq!(names(&mail(name)), plain, "{name:?}");
        }
    }

    #[test]
    fn a_key_is_thirty_two_digits() {
        assert_eq!(key_text([0; 16]), "0".repeat(32));
        assert_eq!(key_text([0xab; 16]), "ab".repeat(16));
    }
}
