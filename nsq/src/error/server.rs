//! What nsqd says when it refuses something.

use std::fmt;

use crate::consumer::MessageId;

/// The first word of an error frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorCode {
    /// `E_INVALID`: a command that nsqd does not know, or not in this state, or with bad parameters.
    Invalid,
    /// `E_BAD_BODY`: a malformed or oversized body of a command.
    BadBody,
    /// `E_BAD_TOPIC`: an illegal topic name.
    BadTopic,
    /// `E_BAD_CHANNEL`: an illegal channel name.
    BadChannel,
    /// `E_BAD_MESSAGE`: an empty or oversized message.
    BadMessage,
    /// `E_PUB_FAILED`: a valid PUB that nsqd could not store.
    PubFailed,
    /// `E_MPUB_FAILED`: a valid MPUB that nsqd could not store, or not all of it.
    MpubFailed,
    /// `E_DPUB_FAILED`: a valid DPUB that nsqd could not store.
    DpubFailed,
    /// `E_SUB_FAILED`: the channel takes no more consumers, or is being deleted.
    SubFailed,
    /// `E_IDENTIFY_FAILED`: the features asked for cannot be combined or set up.
    IdentifyFailed,
    /// `E_AUTH_FIRST`: this nsqd wants AUTH before anything else.
    AuthFirst,
    /// `E_AUTH_FAILED`: the authorization server could not be asked, or refused.
    AuthFailed,
    /// `E_AUTH_DISABLED`: AUTH sent to an nsqd that wants none.
    AuthDisabled,
    /// `E_AUTH_ERROR`: nsqd could not answer an AUTH.
    AuthError,
    /// `E_UNAUTHORIZED`: not permitted on this topic or channel.
    Unauthorized,
    /// `E_BAD_PROTOCOL`: nsqd does not speak protocol version 2.
    BadProtocol,
    /// `E_FIN_FAILED`: the message was no longer this connection's; its deadline had passed. Not fatal.
    FinFailed,
    /// `E_REQ_FAILED`: as [`ErrorCode::FinFailed`], for a requeue. Not fatal.
    ReqFailed,
    /// `E_TOUCH_FAILED`: as [`ErrorCode::FinFailed`], for a touch. Not fatal.
    TouchFailed,
    /// A code this version of the client does not know.
    Other(Box<str>),
}

const CODES: [(&str, ErrorCode); 19] = [
    ("E_INVALID", ErrorCode::Invalid),
    ("E_BAD_BODY", ErrorCode::BadBody),
    ("E_BAD_TOPIC", ErrorCode::BadTopic),
    ("E_BAD_CHANNEL", ErrorCode::BadChannel),
    ("E_BAD_MESSAGE", ErrorCode::BadMessage),
    ("E_PUB_FAILED", ErrorCode::PubFailed),
    ("E_MPUB_FAILED", ErrorCode::MpubFailed),
    ("E_DPUB_FAILED", ErrorCode::DpubFailed),
    ("E_SUB_FAILED", ErrorCode::SubFailed),
    ("E_IDENTIFY_FAILED", ErrorCode::IdentifyFailed),
    ("E_AUTH_FIRST", ErrorCode::AuthFirst),
    ("E_AUTH_FAILED", ErrorCode::AuthFailed),
    ("E_AUTH_DISABLED", ErrorCode::AuthDisabled),
    ("E_AUTH_ERROR", ErrorCode::AuthError),
    ("E_UNAUTHORIZED", ErrorCode::Unauthorized),
    ("E_BAD_PROTOCOL", ErrorCode::BadProtocol),
    ("E_FIN_FAILED", ErrorCode::FinFailed),
    ("E_REQ_FAILED", ErrorCode::ReqFailed),
    ("E_TOUCH_FAILED", ErrorCode::TouchFailed),
];

/// What nsqd said in an error frame: a code, a space, and a detail for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nsqd answered {code}: {detail}")]
pub struct ServerError {
    /// The first word.
    pub code: ErrorCode,
    /// All behind the first word; for FIN, REQ and TOUCH it names the message.
    pub detail: String,
}

/// An answer to a message that came too late: nsqd had given the message up, and delivers it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAnswer {
    /// Which of the three: [`ErrorCode::FinFailed`], [`ErrorCode::ReqFailed`] or
    /// [`ErrorCode::TouchFailed`].
    pub code: ErrorCode,
    /// The message that was answered.
    pub id: MessageId,
}

// === impl ErrorCode ===

impl ErrorCode {
    /// The code as it stands on the wire, such as `E_BAD_TOPIC`.
    pub fn as_str(&self) -> &str {
        if let ErrorCode::Other(word) = self {
            return word;
        }
        CODES
            .iter()
            .find(|(_, code)| code == self)
            .map_or("", |(word, _)| word)
    }

    /// Whether nsqd closes the connection after this error, without looking at what was sent behind it.
    ///
    /// A code that is not known is not taken for fatal: if nsqd does close, that will be seen.
    pub fn is_fatal(&self) -> bool {
        !matches!(
            self,
            ErrorCode::FinFailed | ErrorCode::ReqFailed | ErrorCode::TouchFailed | ErrorCode::Other(_)
        )
    }
}

impl From<&str> for ErrorCode {
    fn from(word: &str) -> Self {
        let known = CODES.iter().find(|(name, _)| *name == word);
        known.map_or_else(|| ErrorCode::Other(word.into()), |(_, code)| code.clone())
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// nsqd's errors are a line; of what is longer, this is kept, as many may get a copy.
const LONGEST_TEXT: usize = 1024;

// === impl ServerError ===

impl ServerError {
    /// Reads the data of an error frame. Never fails: what is not text becomes replacement characters.
    pub fn parse(data: &[u8]) -> Self {
        let text = String::from_utf8_lossy(&data[..data.len().min(LONGEST_TEXT)]);
        let (word, detail) = text.split_once(' ').unwrap_or((&text, ""));
        Self {
            code: ErrorCode::from(word),
            detail: detail.to_owned(),
        }
    }

    /// The message whose FIN, REQ or TOUCH failed; `None` for every other error.
    ///
    /// nsqd names it in the second word of the detail: `FIN 0123456789abcdef failed ID not in flight`
    /// (`nsqd/protocol_v2.go`, `FIN`, `REQ` and `TOUCH`).
    pub fn failed_answer(&self) -> Option<FailedAnswer> {
        let command = match self.code {
            ErrorCode::FinFailed => "FIN",
            ErrorCode::ReqFailed => "REQ",
            ErrorCode::TouchFailed => "TOUCH",
            _ => return None,
        };
        let id = self.detail.strip_prefix(command)?.strip_prefix(' ')?;
        let id = id.as_bytes().first_chunk::<{ MessageId::LEN }>()?;
        Some(FailedAnswer {
            code: self.code.clone(),
            id: MessageId::from_bytes(*id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_way_to_text_and_back() {
        for (word, code) in CODES {
            assert_eq!(ErrorCode::from(word), code);
            assert_eq!(code.as_str(), word);
        }
    }

    #[test]
    fn the_first_word_decides_and_the_rest_is_detail() {
        let error = ServerError::parse(b"E_FIN_FAILED FIN 0123456789abcdef failed not in flight");
        assert_eq!(error.code, ErrorCode::FinFailed);
        assert!(!error.code.is_fatal());
        assert_eq!(error.detail, "FIN 0123456789abcdef failed not in flight");
    }

    #[test]
    fn a_failed_answer_names_its_message() {
        let id = MessageId::from_bytes(*b"0123456789abcdef");
        for (text, code) in [
            (
                "E_FIN_FAILED FIN 0123456789abcdef failed ID not in flight",
                ErrorCode::FinFailed,
            ),
            (
                "E_REQ_FAILED REQ 0123456789abcdef failed client does not own message",
                ErrorCode::ReqFailed,
            ),
            (
                "E_TOUCH_FAILED TOUCH 0123456789abcdef failed ID not in flight",
                ErrorCode::TouchFailed,
            ),
        ] {
            let failed = ServerError::parse(text.as_bytes()).failed_answer();
            assert_eq!(failed, Some(FailedAnswer { code, id }));
        }
        for text in [
            "E_FIN_FAILED",
            "E_FIN_FAILED FIN 0123",
            "E_FIN_FAILED REQ 0123456789abcdef failed",
            "E_INVALID FIN 0123456789abcdef failed",
        ] {
            assert_eq!(
                ServerError::parse(text.as_bytes()).failed_answer(),
                None,
                "{text}"
            );
        }
    }

    #[test]
    fn of_a_very_long_error_the_beginning_is_kept() {
        let text = [b"E_INVALID ".as_slice(), &[b'x'; 1 << 20]].concat();
        let error = ServerError::parse(&text);
        assert_eq!(error.code, ErrorCode::Invalid);
        assert!(error.detail.len() <= LONGEST_TEXT);
    }

    #[test]
    fn an_error_without_detail_or_with_an_unknown_code_is_still_an_error() {
        assert_eq!(ServerError::parse(b"E_INVALID").code, ErrorCode::Invalid);
        assert_eq!(ServerError::parse(b"").code, ErrorCode::Other("".into()));
        let strange = ServerError::parse(b"E_NEW thing");
        assert_eq!(strange.code.as_str(), "E_NEW");
        assert!(!strange.code.is_fatal());
    }
}
