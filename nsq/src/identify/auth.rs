//! What proves to nsqd's authorization server who we are.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;

use super::negotiated::object;
use crate::error::ConnectionError;

/// The secret that AUTH carries. Its `Debug` output does not contain it, nor does anything this crate
/// logs.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthSecret(Bytes);

/// What nsqd's authorization server says we are, as of AUTH. nsqd asks it again when its answer has grown
/// old, so rights can be gone at any later PUB or SUB.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Authorization {
    /// Whose secret it was.
    pub identity: String,
    /// Where one can read about them.
    pub identity_url: String,
    /// How many rules the rights consist of.
    pub permission_count: u64,
}

// === impl AuthSecret ===

impl AuthSecret {
    /// Any bytes but none at all; nsqd hands them to its authorization server as they are.
    pub fn new(secret: impl Into<Bytes>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn expose(self) -> Bytes {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for AuthSecret {
    fn from(secret: String) -> Self {
        Self::new(secret)
    }
}

impl From<&str> for AuthSecret {
    fn from(secret: &str) -> Self {
        Self::new(secret.to_owned())
    }
}

impl fmt::Debug for AuthSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthSecret(..)")
    }
}

// === impl Authorization ===

impl Authorization {
    /// Reads nsqd's answer to AUTH.
    pub(crate) fn parse(answer: &[u8]) -> Result<Self, ConnectionError> {
        object(answer).ok_or(ConnectionError::Protocol("the answer to AUTH is not its JSON"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", AuthSecret::from("hunter2")), "AuthSecret(..)");
    }
}
