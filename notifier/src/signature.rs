//! Signatures of webhooks, as Standard Webhooks 1.0.0 has them
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What a secret's text begins with.
const PREFIX: &str = "whsec_";
/// How long a secret is, in bytes.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The secrets that signatures are made with, the newest first.
///
/// Each address is signed for with secrets of its own, which are made of these and the address: what one address knows
/// is worth nothing at another. A secret is replaced by putting a new one before it, and by taking the old one away
/// when all addresses know theirs: meanwhile every webhook has both signatures.
#[derive(Clone)]
pub struct Secrets {
    masters: Vec<Vec<u8>>,
}

// === impl Secrets ===

impl Secrets {
    /// Secrets as `whsec_` and base64 of 24 to 64 bytes, separated by commas or spaces.
    ///
    /// # Errors
    /// What is wrong, without the secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut masters = Vec::new();
        let parts = text.split(|character: char| character == ',' || character.is_whitespace());
        for (index, part) in parts.filter(|part| !part.is_empty()).enumerate() {
            let bytes = part
                .strip_prefix(PREFIX)
                .and_then(|rest| STANDARD.decode(rest).ok());
            match bytes {
                Some(bytes) if LENGTHS.contains(&bytes.len()) => masters.push(bytes),
                _ => {
                    return Err(format!(
                        "number {} of them is no secret; expected {PREFIX} and 24 to 64 bytes as base64",
                        index + 1
                    ));
                }
            }
        }
        if masters.is_empty() {
            return Err(format!(
                "there is none; expected {PREFIX} and 24 to 64 bytes as base64"
            ));
        }
        Ok(Self { masters })
    }

    /// A new secret, of 32 random bytes, as [`Secrets::parse`] takes it.
    pub fn new_text() -> String {
        format!("{PREFIX}{}", STANDARD.encode(rand::random::<[u8; 32]>()))
    }

    /// What whoever has this address checks signatures with, as the text that libraries for Standard Webhooks take:
    /// the newest secret's.
    pub fn of_address(&self, url: &str) -> String {
        let newest = self.masters.first().map(|master| key_of(master, url));
        format!("{PREFIX}{}", STANDARD.encode(newest.unwrap_or_default()))
    }

    /// The value of `webhook-signature`: one signature a secret.
    pub(crate) fn sign(&self, url: &str, id: &str, timestamp: u64, body: &[u8]) -> String {
        let signatures = self.masters.iter().map(|master| {
            let key = key_of(master, url);
            signature(&key, id, timestamp, body)
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

// Secrets are nobody's to read.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({})", self.masters.len())
    }
}

/// The secret of one address.
fn key_of(master: &[u8], url: &str) -> Vec<u8> {
    code(master, &[url.as_bytes()])
}

fn signature(key: &[u8], id: &str, timestamp: u64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body];
    format!("v1,{}", STANDARD.encode(code(key, &parts)))
}

fn code(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length")
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ONE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLrSw";
    const TWO: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    const URL: &str = "https://hooks.example/a";

    #[test]
    fn a_signature_is_the_one_of_the_specifications_libraries() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLrSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        assert_eq!(
            signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body),
            "v1,zRd/sq4GlCCYnqDAvD100dk132bKfRqo7e9hOdCd62s="
        );
    }

    #[test]
    fn every_secret_signs_while_one_replaces_another() {
        let (old, both) = (
            Secrets::parse(ONE).unwrap(),
            Secrets::parse(&format!("{TWO}, {ONE}")).unwrap(),
        );
        let before = old.sign(URL, "msg_1", 1, b"{}");
        let meanwhile = both.sign(URL, "msg_1", 1, b"{}");
        let signatures: Vec<&str> = meanwhile.split(' ').collect();
        assert_eq!(signatures.len(), 2);
        assert_eq!(signatures[1], before);
        assert_ne!(signatures[0], before);
        assert_eq!(both.of_address(URL), Secrets::parse(TWO).unwrap().of_address(URL));
    }

    #[test]
    fn an_address_learns_a_secret_that_is_good_for_it_alone() {
        let secrets = Secrets::parse(ONE).unwrap();
        let known = secrets.of_address(URL);
        let key = STANDARD.decode(known.strip_prefix(PREFIX).unwrap()).unwrap();
        assert_eq!(
            secrets.sign(URL, "msg_1", 7, b"{}"),
            signature(&key, "msg_1", 7, b"{}")
        );
        assert_ne!(secrets.of_address("https://hooks.example/b"), known);
    }

    #[test]
    fn a_new_secret_is_one_and_nobody_elses() {
        let (one, other) = (Secrets::new_text(), Secrets::new_text());
        assert_ne!(one, other);
        Secrets::parse(&format!("{one},{other}")).unwrap();
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_repeated() {
        for text in [
            "",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLrSw",
            "whsec_short",
            "whsec_AAAA",
            "whsec_#",
        ] {
            let told = Secrets::parse(text).unwrap_err();
            assert!(text.is_empty() || !told.contains(text), "{told}");
        }
        assert!(!format!("{:?}", Secrets::parse(ONE).unwrap()).contains("MfKQ"));
    }
}
