//! What the files hold, made usable.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::error::TlsError;
use super::files::{Contents, TlsFiles};

/// A certificate with its key, and whom to trust.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) identity: Arc<CertifiedKey>,
    pub(super) roots: Arc<RootCertStore>,
    /// Checks that a client's certificate comes from the roots.
    pub(super) client_chain: Arc<dyn ClientCertVerifier>,
    /// When our certificate ends to be valid, in seconds since 1970.
    pub(super) expiry: i64,
    pub(super) provider: Arc<CryptoProvider>,
}

/// The algorithms. Given explicitly everywhere: the default of the process belongs to the program.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

// === impl Credentials ===

impl Credentials {
    /// # Errors
    /// Which file is not usable, and why.
    pub(super) fn parse(
        files: &TlsFiles,
        contents: &Contents,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let unusable_ca = |reason: String| malformed("CA file", &files.ca, reason);
        let unusable_certificate = |reason: String| malformed("certificate", &files.certificate, reason);
        let unusable_key = |reason: String| malformed("key", &files.key, reason);

        let mut roots = RootCertStore::empty();
        for root in certificates(&contents.ca).map_err(unusable_ca)? {
            roots.add(root).map_err(|error| unusable_ca(error.to_string()))?;
        }
        let roots = Arc::new(roots);
        let client_chain = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(|error| unusable_ca(error.to_string()))?;

        let chain = certificates(&contents.certificate).map_err(unusable_certificate)?;
        let expiry = expiry(&chain).map_err(unusable_certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| {
            unusable_key(match error {
                pem::Error::NoItemsFound => "there is no private key in it".to_owned(),
                error => error.to_string(),
            })
        })?;
        let identity = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::KeyMismatch {
                certificate: files.certificate.clone(),
                key: files.key.clone(),
            },
            rustls::Error::InvalidCertificate(error) => unusable_certificate(error.to_string()),
            error => unusable_key(error.to_string()),
        })?;
        Ok(Self {
            identity: Arc::new(identity),
            roots,
            client_chain,
            expiry,
            provider,
        })
    }
}

fn malformed(what: &'static str, path: &std::path::Path, reason: String) -> TlsError {
    TlsError::Malformed {
        what,
        path: path.to_owned(),
        reason,
    }
}

/// At least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(certificates)
}

fn expiry(chain: &[CertificateDer<'_>]) -> Result<i64, String> {
    let leaf = chain.first().ok_or("there is no certificate in it")?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
    Ok(leaf.validity().not_after.timestamp())
}
