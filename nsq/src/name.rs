//! Names of topics and channels, checked once, when they are made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name nsqd takes, in bytes.
const MAX_LEN: usize = 64;
const EPHEMERAL: &str = "#ephemeral";

/// A name that nsqd would refuse (and close the connection over).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid {kind} name {name:?}: expected 1 to 64 of `.a-zA-Z0-9_-`, optionally ending in `#ephemeral`"
)]
pub struct InvalidName {
    kind: &'static str,
    name: String,
}

/// The name of a topic: 1 to 64 bytes of `.a-zA-Z0-9_-`, optionally ending in `#ephemeral`.
///
/// ```
/// use async_nsq::Topic;
///
/// assert!(Topic::new("orders.paid").is_ok());
/// assert!(Topic::new("clicks#ephemeral").is_ok());
/// assert!(Topic::new("not a name").is_err());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// The name of a channel, under the same rules as a [`Topic`]'s.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

// === impl Topic ===

impl Topic {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`] where nsqd would refuse it.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidName> {
        checked("topic", name.as_ref()).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Topic {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

// === impl Channel ===

impl Channel {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`] where nsqd would refuse it.
    pub fn new(name: impl AsRef<str>) -> Result<Self, InvalidName> {
        checked("channel", name.as_ref()).map(Self)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Channel {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

fn checked(kind: &'static str, name: &str) -> Result<Arc<str>, InvalidName> {
    let stem = name.strip_suffix(EPHEMERAL).unwrap_or(name);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.len() <= MAX_LEN && !stem.is_empty() && stem.bytes().all(legal) {
        return Ok(name.into());
    }
    // An error must stay printable, whatever was passed in.
    let name = name.chars().take(MAX_LEN + 1).collect();
    Err(InvalidName { kind, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nsqd_takes_are_taken() {
        for name in ["a", "images", "A.b-c_9", "x#ephemeral", &"a".repeat(64)] {
            assert!(Topic::new(name).is_ok(), "{name}");
            assert!(Channel::new(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_that_nsqd_refuses_are_refused() {
        let too_long_with_suffix = format!("{}#ephemeral", "a".repeat(55));
        for name in [
            "",
            "a b",
            "a\n",
            "a/b",
            "#ephemeral",
            "a#",
            "ü",
            &"a".repeat(65),
            &too_long_with_suffix,
        ] {
            assert!(Topic::new(name).is_err(), "{name:?}");
            assert!(Channel::new(name).is_err(), "{name:?}");
        }
    }
}
