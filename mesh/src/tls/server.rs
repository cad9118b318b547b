//! The side that accepts.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::client::H2;
use super::error::TlsError;
use super::files::TlsFiles;
use super::handshake::{HandshakeError, told};
use super::identity::{PeerIdentity, PeerInfo};
use super::reload::Material;
use super::verify::ClientCheck;

/// Accepts connections by mutual TLS. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls {
    material: Arc<Material>,
    peers: Arc<[PeerIdentity]>,
}

// === impl ServerTls ===

impl ServerTls {
    /// Reads the files, and again when they change, for connections from clients that are one of `peers`; if there
    /// are none, from anybody with a certificate of the CA. Blocks while it reads.
    ///
    /// # Errors
    /// Files that are not usable, an identity that no certificate can have, or no tokio runtime around.
    pub fn open(files: TlsFiles, peers: Vec<PeerIdentity>) -> Result<Self, TlsError> {
        for peer in &peers {
            peer.validate()?;
        }
        Ok(Self {
            material: Arc::new(Material::open(files)?),
            peers: peers.into(),
        })
    }

    /// Makes `stream` a stream by TLS, on which both sides speak HTTP/2, and says who the client is.
    ///
    /// It takes as long as the client does: bound it by a timeout, and do not accept other connections after it but
    /// beside it. Cancel safe: dropped, it closes the stream.
    ///
    /// # Errors
    /// A [`HandshakeError`] within, or what the transport met.
    pub async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, PeerInfo)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config().map_err(io::Error::other)?;
        let stream = TlsAcceptor::from(Arc::new(config))
            .accept(stream)
            .await
            .map_err(told)?;
        let session = stream.get_ref().1;
        if session.alpn_protocol() != Some(H2) {
            return Err(HandshakeError::NotHttp2.into());
        }
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let peer = certificate
            .and_then(PeerInfo::read)
            .ok_or(HandshakeError::NoCertificate)?;
        Ok((stream, peer))
    }

    /// Made for each handshake, as on the other side.
    fn config(&self) -> Result<ServerConfig, rustls::Error> {
        let credentials = self.material.current();
        let identity = SingleCertAndKey::from(credentials.identity.clone());
        let mut config = ServerConfig::builder_with_provider(credentials.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(Arc::new(ClientCheck {
                credentials,
                peers: self.peers.clone(),
            }))
            .with_cert_resolver(Arc::new(identity));
        config.alpn_protocols = vec![H2.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}
