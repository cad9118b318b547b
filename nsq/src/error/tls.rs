//! What can go wrong between us and nsqd's TLS.

/// Why a connection that was to be encrypted is none. Nothing was sent in clear but IDENTIFY.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// This nsqd has no TLS: it was started without `--tls-cert` and `--tls-key`.
    #[error("TLS is asked for, and this nsqd offers none")]
    NotOffered,
    /// We do not trust the certificate that nsqd shows, or it is for another name.
    #[error("nsqd's certificate is not trusted: {0}")]
    Untrusted(String),
    /// nsqd refused us with this alert: most likely it wants a certificate of ours, or another one. With
    /// TLS 1.3 it says so only after the handshake.
    #[error("nsqd refused TLS with us: {0}")]
    Refused(String),
    /// No name is known that nsqd's certificate should bear: the address is a Unix socket, or what it
    /// names is no name for a server.
    #[error("{0} does not tell which name the certificate is to bear; configure the server name")]
    NoServerName(String),
    /// Anything else that is not TLS as it should be.
    #[error("TLS failed: {0}")]
    Failed(String),
}
