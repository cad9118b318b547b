//! What went wrong in a handshake, and whose certificate was to blame.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// A handshake that failed. It is the inner error of the [`io::Error`] that
/// [`ClientTls::connect`](super::ClientTls::connect) and [`ServerTls::accept`](super::ServerTls::accept) give.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The peer showed no certificate.
    #[error("the peer has sent no certificate")]
    NoCertificate,
    /// The peer's certificate does not come from our CA.
    #[error("the peer's certificate is not issued by our CA")]
    UnknownIssuer,
    /// The peer's certificate is not valid any more, or not yet.
    #[error("the peer's certificate is outside its time: {reason}")]
    OutOfTime {
        /// Since when, or until when.
        reason: String,
    },
    /// The peer's certificate is good, but somebody else's.
    #[error("the peer is not {expected}: its certificate is for {presented}")]
    WrongPeer {
        /// Who we take.
        expected: String,
        /// Who it is.
        presented: String,
    },
    /// The peer's certificate is of no use for another reason.
    #[error("the peer's certificate is not usable: {reason}")]
    BadCertificate {
        /// What is wrong with it.
        reason: String,
    },
    /// The peer refused our certificate.
    #[error("the peer has refused our certificate: {reason}")]
    Refused {
        /// What it said.
        reason: &'static str,
    },
    /// The peer does not speak HTTP/2: it took no `h2` by ALPN (RFC 7301).
    #[error("the peer does not speak HTTP/2 over TLS: it has not agreed on h2 by ALPN")]
    NotHttp2,
    /// The peer does not speak TLS.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// The peer closed the connection and said nothing.
    #[error("the peer has closed the connection during the TLS handshake")]
    Closed,
    /// Anything else.
    #[error("TLS: {reason}")]
    Other {
        /// What it was.
        reason: String,
    },
}

// === impl HandshakeError ===

impl HandshakeError {
    fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::InvalidCertificate(error) => Self::of_certificate(error),
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            rustls::Error::NoApplicationProtocol => Self::NotHttp2,
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            error => Self::Other {
                reason: error.to_string(),
            },
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            // A bad signature is what a CA of the same name and another key looks like.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::OutOfTime {
                reason: error.to_string(),
            },
            CertificateError::Other(other) => match other.0.downcast_ref::<Self>() {
                Some(ours) => ours.clone(),
                None => Self::BadCertificate {
                    reason: other.to_string(),
                },
            },
            error => Self::BadCertificate {
                reason: error.to_string(),
            },
        }
    }

    /// The alerts of RFC 8446, section 6.2.
    fn of_alert(alert: AlertDescription) -> Self {
        let reason = match alert {
            AlertDescription::NoApplicationProtocol => return Self::NotHttp2,
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => "it has seen none",
            AlertDescription::UnknownCA => "it does not know our CA",
            AlertDescription::CertificateExpired => "it is outside its time",
            AlertDescription::CertificateRevoked => "it is revoked",
            AlertDescription::AccessDenied => "we are not whom it takes",
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown => "it does not say why",
            AlertDescription::DecryptError => "our certificate or its own has a signature that does not hold",
            alert => {
                return Self::Other {
                    reason: format!("the peer has sent the alert {alert:?}"),
                };
            }
        };
        Self::Refused { reason }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::NoCertificate
            | Self::UnknownIssuer
            | Self::OutOfTime { .. }
            | Self::WrongPeer { .. }
            | Self::BadCertificate { .. }
            | Self::Refused { .. } => io::ErrorKind::PermissionDenied,
            Self::Closed => io::ErrorKind::UnexpectedEof,
            Self::NotHttp2 | Self::NotTls | Self::Other { .. } => io::ErrorKind::InvalidData,
        }
    }
}

impl From<HandshakeError> for io::Error {
    fn from(error: HandshakeError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// Says in our words what TLS met; an error of the transport stays what it is.
pub(super) fn told(error: io::Error) -> io::Error {
    if let Some(error) = error.get_ref().and_then(|inner| find(inner)) {
        return HandshakeError::of(error).into();
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => HandshakeError::Closed.into(),
        _ => error,
    }
}

fn find<'a>(error: &'a (dyn Error + Send + Sync + 'static)) -> Option<&'a rustls::Error> {
    crate::error::find::<rustls::Error>(error)
}
