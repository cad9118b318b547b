//! TLS by rustls.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::Transport;
use super::socket::host;
use crate::error::{ConnectionError, TlsError};

/// How a connection is encrypted, and whom it trusts. Cheap to clone.
///
/// ```
/// # fn example() -> Result<(), async_nsq::TlsConfigError> {
/// use async_nsq::{ConnectionConfig, TlsConfig};
///
/// let mut config = ConnectionConfig::default();
/// config.tls = Some(
///     TlsConfig::builder()
///         .ca_file("/etc/nsq/ca.pem")?
///         .client_certificate_files("/etc/nsq/client.pem", "/etc/nsq/client.key")?
///         .build()?,
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TlsConfig {
    client: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

/// Makes a [`TlsConfig`] of PEM. It speaks TLS 1.2 and 1.3, and trusts the certificates it was given and
/// no others.
#[derive(Debug)]
pub struct TlsConfigBuilder {
    roots: RootCertStore,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    server_name: Option<ServerName<'static>>,
}

/// Why a [`TlsConfig`] could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// A file could not be read.
    #[error("could not read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// There is no certificate to trust, or none of a client.
    #[error("no certificate was found")]
    NoCertificate,
    /// What should be PEM is not, or holds no private key where one should be.
    #[error("not the PEM expected: {0}")]
    Pem(String),
    /// A certificate or key that cannot be used.
    #[error("unusable: {0}")]
    Unusable(String),
    /// Neither a name of the domain name system nor an address.
    #[error("{0:?} is no name of a server")]
    ServerName(String),
}

// === impl TlsConfig ===

impl TlsConfig {
    /// Begins with nobody to trust.
    pub fn builder() -> TlsConfigBuilder {
        TlsConfigBuilder {
            roots: RootCertStore::empty(),
            client: None,
            server_name: None,
        }
    }

    /// Takes a configuration of rustls's as it is, for everything that [`TlsConfigBuilder`] does not do.
    pub fn from_client_config(client: Arc<ClientConfig>) -> Self {
        Self {
            client,
            server_name: None,
        }
    }

    /// The name that nsqd's certificate has to bear, instead of the host in its address.
    ///
    /// # Errors
    /// [`TlsConfigError::ServerName`].
    pub fn with_server_name(mut self, name: &str) -> Result<Self, TlsConfigError> {
        self.server_name = Some(server_name(name)?);
        Ok(self)
    }

    /// Shakes hands. With TLS 1.3 nsqd may still refuse us: it looks at our certificate only after we
    /// are done, so the refusal comes instead of the first byte.
    pub(crate) async fn connect(
        &self,
        inner: Box<dyn Transport>,
        address: &str,
    ) -> Result<Box<dyn Transport>, ConnectionError> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => host(address)
                .and_then(|host| server_name(host).ok())
                .ok_or_else(|| TlsError::NoServerName(address.to_owned()))?,
        };
        let connector = TlsConnector::from(self.client.clone());
        Ok(Box::new(connector.connect(name, inner).await?))
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

// === impl TlsConfigBuilder ===

impl TlsConfigBuilder {
    /// Trusts the certificates in this PEM, in addition to those given before.
    ///
    /// # Errors
    /// [`TlsConfigError`] where there is none in it, or one that cannot be used.
    pub fn ca_pem(mut self, pem: &[u8]) -> Result<Self, TlsConfigError> {
        for certificate in certificates(pem)? {
            self.roots.add(certificate).map_err(unusable)?;
        }
        Ok(self)
    }

    /// As [`ca_pem`](Self::ca_pem), of a file, which is read now and never again.
    ///
    /// # Errors
    /// As there, and [`TlsConfigError::File`].
    pub fn ca_file(self, path: impl AsRef<Path>) -> Result<Self, TlsConfigError> {
        self.ca_pem(&read(path.as_ref())?)
    }

    /// Shows this certificate to an nsqd that asks for one: the chain, ours first, and its private key.
    ///
    /// # Errors
    /// [`TlsConfigError`] where one of them is missing.
    pub fn client_certificate_pem(mut self, chain: &[u8], key: &[u8]) -> Result<Self, TlsConfigError> {
        let key = PrivateKeyDer::from_pem_slice(key).map_err(pem_error)?;
        self.client = Some((certificates(chain)?, key));
        Ok(self)
    }

    /// As [`client_certificate_pem`](Self::client_certificate_pem), of files, which are read now and never
    /// again.
    ///
    /// # Errors
    /// As there, and [`TlsConfigError::File`].
    pub fn client_certificate_files(
        self,
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsConfigError> {
        let (chain, key) = (read(chain.as_ref())?, read(key.as_ref())?);
        self.client_certificate_pem(&chain, &key)
    }

    /// The name that nsqd's certificate has to bear, instead of the host in its address. A Unix socket has
    /// no host, and needs this.
    ///
    /// # Errors
    /// [`TlsConfigError::ServerName`].
    pub fn server_name(mut self, name: &str) -> Result<Self, TlsConfigError> {
        self.server_name = Some(server_name(name)?);
        Ok(self)
    }

    /// Puts it together.
    ///
    /// # Errors
    /// [`TlsConfigError::NoCertificate`] where nobody is trusted, [`TlsConfigError::Unusable`] where key
    /// and certificate do not match.
    pub fn build(self) -> Result<TlsConfig, TlsConfigError> {
        if self.roots.is_empty() {
            return Err(TlsConfigError::NoCertificate);
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(self.roots);
        let client = match self.client {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(unusable)?,
            None => builder.with_no_client_auth(),
        };
        Ok(TlsConfig {
            client: Arc::new(client),
            server_name: self.server_name,
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsConfigError> {
    std::fs::read(path).map_err(|source| TlsConfigError::File {
        path: path.to_owned(),
        source,
    })
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(pem_error)?;
    if certificates.is_empty() {
        return Err(TlsConfigError::NoCertificate);
    }
    Ok(certificates)
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsConfigError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsConfigError::ServerName(name.to_owned()))
}

fn pem_error(error: pem::Error) -> TlsConfigError {
    TlsConfigError::Pem(error.to_string())
}

fn unusable(error: rustls::Error) -> TlsConfigError {
    TlsConfigError::Unusable(error.to_string())
}

// === impl TlsError ===

impl TlsError {
    /// What rustls says through an error of the stream; `None` if it is not rustls that speaks.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        Some(match error {
            rustls::Error::AlertReceived(alert) => TlsError::Refused(format!("{alert:?}")),
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                TlsError::Untrusted(error.to_string())
            }
            other => TlsError::Failed(other.to_string()),
        })
    }
}

#[cfg(test)]
mod tests;
