//! Who a peer is.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::{CertificateDer, ServerName};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::error::TlsError;

/// Who a peer has to be. Parsed from a host name or a `spiffe://…`.
///
/// ```
/// use safelight_mesh::tls::PeerIdentity;
///
/// let peer: PeerIdentity = "spiffe://example.org/recognizer".parse()?;
/// assert_eq!(peer, PeerIdentity::SpiffeId("spiffe://example.org/recognizer".to_owned()));
/// let peer: PeerIdentity = "recognizer.media.svc".parse()?;
/// assert_eq!(peer, PeerIdentity::Name("recognizer.media.svc".to_owned()));
/// # Ok::<(), safelight_mesh::tls::TlsError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PeerIdentity {
    /// A DNS name or IP address that is among the subject alternative names of its certificate, by the rules of
    /// RFC 6125 (one wildcard for a whole left-most label).
    Name(String),
    /// The one URI among the subject alternative names of its certificate, letter by letter. By the X.509-SVID
    /// standard (section 2) a certificate with several URIs is nobody's.
    SpiffeId(String),
}

/// Who a peer is, by the certificate that it has proven to be its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// The DNS names of its certificate.
    pub names: Vec<String>,
    /// Its SPIFFE ID, if it has one.
    pub spiffe_id: Option<String>,
}

// === impl PeerIdentity ===

impl PeerIdentity {
    /// Whether any certificate can have it.
    pub(super) fn validate(&self) -> Result<(), TlsError> {
        let reason = match self {
            Self::Name(name) if ServerName::try_from(name.as_str()).is_ok() => return Ok(()),
            Self::Name(_) => "expected a host name or an IP address",
            Self::SpiffeId(id) => match check_spiffe_id(id) {
                Ok(()) => return Ok(()),
                Err(reason) => reason,
            },
        };
        Err(TlsError::Identity {
            identity: self.to_string(),
            reason,
        })
    }
}

impl FromStr for PeerIdentity {
    type Err = TlsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let identity = match text.contains("://") {
            true => Self::SpiffeId(text.to_owned()),
            false => Self::Name(text.to_owned()),
        };
        identity.validate()?;
        Ok(identity)
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(identity) | Self::SpiffeId(identity) => f.write_str(identity),
        }
    }
}

/// The rules of the SPIFFE ID standard (section 2): a trust domain in small letters, and path segments that are
/// neither empty nor dots.
fn check_spiffe_id(id: &str) -> Result<(), &'static str> {
    let Some(rest) = id.strip_prefix("spiffe://") else {
        return Err("the scheme is not spiffe");
    };
    if id.len() > 2048 {
        return Err("it is longer than 2048 bytes");
    }
    let mut parts = rest.split('/');
    let domain = parts.next().unwrap_or_default();
    let is_domain_letter = |letter: u8| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, b'.' | b'-' | b'_')
    };
    if domain.is_empty() || !domain.bytes().all(is_domain_letter) {
        return Err("the trust domain has to be of small letters, digits, dots, hyphens and underscores");
    }
    let is_path_letter = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'-' | b'_');
    for segment in parts {
        if matches!(segment, "" | "." | "..") {
            return Err("a part of its path is empty or of dots");
        }
        if !segment.bytes().all(is_path_letter) {
            return Err("its path has to be of letters, digits, dots, hyphens and underscores");
        }
    }
    Ok(())
}

// === impl PeerInfo ===

impl PeerInfo {
    /// Reads a certificate, of which nothing is checked here.
    pub(super) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let mut names = Vec::new();
        let mut uris = Vec::new();
        if let Some(alternatives) = certificate.subject_alternative_name().ok()? {
            for name in &alternatives.value.general_names {
                match name {
                    GeneralName::DNSName(name) => names.push((*name).to_owned()),
                    GeneralName::URI(uri) => uris.push(*uri),
                    _ => {}
                }
            }
        }
        let spiffe_id = match uris.as_slice() {
            [uri] if check_spiffe_id(uri).is_ok() => Some((*uri).to_owned()),
            _ => None,
        };
        Some(Self { names, spiffe_id })
    }
}

impl fmt::Display for PeerInfo {
    /// What it is called, for people: its SPIFFE ID or its names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.spiffe_id {
            Some(id) => f.write_str(id),
            None if self.names.is_empty() => f.write_str("nobody"),
            None => f.write_str(&self.names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn an_identity_is_a_name_or_a_spiffe_id() {
        for name in [
            "recognizer",
            "recognizer.media.svc.cluster.local",
            "10.0.0.1",
            "::1",
        ] {
            assert_eq!(
                name.parse::<PeerIdentity>().unwrap(),
                PeerIdentity::Name(name.to_owned())
            );
        }
        for id in [
            "spiffe://example.org",
            "spiffe://example.org/ns/media/sa/face-recog_1.0",
        ] {
            assert_eq!(
                id.parse::<PeerIdentity>().unwrap(),
                PeerIdentity::SpiffeId(id.to_owned())
            );
        }
    }

    #[test]
    fn an_identity_that_no_certificate_can_have_is_refused() {
        for (text, told) in [
            ("", "host name"),
            ("a b", "host name"),
            ("https://example.org", "the scheme is not spiffe"),
            ("spiffe://", "trust domain"),
            ("spiffe://Example.org/a", "trust domain"),
            ("spiffe://example.org:8080/a", "trust domain"),
            ("spiffe://example.org/", "empty"),
            ("spiffe://example.org/a//b", "empty"),
            ("spiffe://example.org/a/../b", "dots"),
            ("spiffe://example.org/a?b", "path"),
        ] {
            let refused = text.parse::<PeerIdentity>().unwrap_err().to_string();
            assert!(refused.contains(told), "{text}: {refused}");
        }
    }
}
