use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The name of an object: words of ASCII letters, digits, `-`, `_` and `.`, parted by `/`.
///
/// No word is empty or begins with a dot, so a key below a folder never leads out of it, whoever had a say in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

/// The text is no key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{text:?} is no key of an object: {reason}")]
pub struct InvalidKey {
    text: String,
    reason: &'static str,
}

// === impl Key ===

impl Key {
    /// A key is no longer, in bytes.
    pub const LONGEST: usize = 512;

    /// Where what is not finished lies; nobody else's key begins so.
    pub(crate) const TEMPORARY: &str = "tmp";

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let refuse = |reason| {
            Err(InvalidKey {
                text: text.chars().take(80).collect(),
                reason,
            })
        };
        if text.len() > Self::LONGEST {
            return refuse("it is longer than 512 bytes");
        }
        for word in text.split('/') {
            if word.is_empty() {
                return refuse("a part of it is empty");
            }
            if word.starts_with('.') {
                return refuse("a part of it begins with a dot");
            }
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if !word.bytes().all(allowed) {
                return refuse("only ASCII letters, digits, `-`, `_` and `.` are allowed");
            }
        }
        if text.split('/').next() == Some(Self::TEMPORARY) {
            return refuse("what is under tmp/ belongs to the store");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_plain_words() {
        for text in ["a", "input/01J/test.png", "output/1/a-b_c.d.gif", "output/tmp/a"] {
            assert_eq!(text.parse().map(|key: Key| key.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn whatever_could_lead_elsewhere_is_refused() {
        let long = "x".repeat(Key::LONGEST + 1);
        for text in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/.hidden",
            "a b",
            "ä",
            "a\\b",
            "a\0",
            "a%2e",
            "tmp/a",
            "tmp",
            &long,
        ] {
            assert!(text.parse::<Key>().is_err(), "{text:?}");
        }
    }
}
