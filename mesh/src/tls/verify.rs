//! Whether a peer is who it has to be: first its chain, then its identity.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};

use super::credentials::Credentials;
use super::handshake::HandshakeError;
use super::identity::{PeerIdentity, PeerInfo};

/// Checks a server. Whom we want is the identity, and not the name that we dialed.
#[derive(Debug)]
pub(super) struct ServerCheck {
    pub(super) credentials: Arc<Credentials>,
    pub(super) peer: Arc<PeerIdentity>,
}

/// Checks a client. It has to be one of the peers; if there are none, anybody of the CA.
#[derive(Debug)]
pub(super) struct ClientCheck {
    pub(super) credentials: Arc<Credentials>,
    pub(super) peers: Arc<[PeerIdentity]>,
}

/// Whether a certificate, whose chain is good, is one of these peers'.
fn check_identity(end_entity: &CertificateDer<'_>, peers: &[PeerIdentity]) -> Result<(), rustls::Error> {
    let certificate = ParsedCertificate::try_from(end_entity)?;
    let info =
        PeerInfo::read(end_entity).ok_or(rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let is_it = |peer: &PeerIdentity| match peer {
        PeerIdentity::SpiffeId(id) => info.spiffe_id.as_ref() == Some(id),
        PeerIdentity::Name(name) => ServerName::try_from(name.as_str())
            .is_ok_and(|name| verify_server_name(&certificate, &name).is_ok()),
    };
    if peers.iter().any(is_it) {
        return Ok(());
    }
    let expected: Vec<String> = peers.iter().map(ToString::to_string).collect();
    let wrong = HandshakeError::WrongPeer {
        expected: expected.join(" or "),
        presented: info.to_string(),
    };
    Err(CertificateError::Other(OtherError(Arc::new(wrong))).into())
}

// === impl ServerCheck ===

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.credentials.roots,
            intermediates,
            now,
            self.credentials.provider.signature_verification_algorithms.all,
        )?;
        check_identity(end_entity, std::slice::from_ref(&self.peer))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.credentials.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.credentials.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.credentials
            .provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

// === impl ClientCheck ===

impl ClientCertVerifier for ClientCheck {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.credentials.client_chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .credentials
            .client_chain
            .verify_client_cert(end_entity, intermediates, now)?;
        if !self.peers.is_empty() {
            check_identity(end_entity, &self.peers)?;
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.credentials
            .client_chain
            .verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.credentials
            .client_chain
            .verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.credentials.client_chain.supported_verify_schemes()
    }
}
