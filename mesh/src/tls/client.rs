//! The side that connects.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::TlsError;
use super::files::TlsFiles;
use super::handshake::{HandshakeError, told};
use super::identity::PeerIdentity;
use super::reload::Material;
use super::verify::ServerCheck;

/// Connects by mutual TLS to one kind of peer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClientTls {
    material: Arc<Material>,
    peer: Arc<PeerIdentity>,
}

/// How long a server may take for its first byte before it is taken to be one that waits for ours.
const GREETING: Duration = Duration::from_millis(250);

/// The one protocol that is offered by ALPN.
pub(super) const H2: &[u8] = b"h2";

// === impl ClientTls ===

impl ClientTls {
    /// Reads the files, and again when they change, for connections to servers that are `peer`. Blocks while it
    /// reads.
    ///
    /// # Errors
    /// Files that are not usable, an identity that no certificate can have, or no tokio runtime around.
    pub fn open(files: TlsFiles, peer: PeerIdentity) -> Result<Self, TlsError> {
        peer.validate()?;
        Ok(Self {
            material: Arc::new(Material::open(files)?),
            peer: Arc::new(peer),
        })
    }

    /// The same files for other peers.
    ///
    /// # Errors
    /// An identity that no certificate can have.
    pub fn with_peer(&self, peer: PeerIdentity) -> Result<Self, TlsError> {
        peer.validate()?;
        Ok(Self {
            material: self.material.clone(),
            peer: Arc::new(peer),
        })
    }

    /// Whom it takes.
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// Makes `stream` a stream by TLS, on which both sides speak HTTP/2. `server_name` is the host that was dialed; it
    /// is told to the server (RFC 6066, section 3) and decides nothing here.
    ///
    /// In TLS 1.3 a client is done before the server has looked at its certificate. So this waits for the server's
    /// first bytes, which in HTTP/2 come unasked (RFC 9113, section 3.4) and prove that it took the certificate. A
    /// server that waits for ours instead is believed after 250 ms.
    ///
    /// Cancel safe: dropped, it closes the stream.
    ///
    /// # Errors
    /// A [`HandshakeError`] within, or what the transport met.
    pub async fn connect<S>(&self, stream: S, server_name: &str) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let config = self.config().map_err(io::Error::other)?;
        let mut stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(told)?;
        if stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(HandshakeError::NotHttp2.into());
        }
        match timeout(GREETING, stream.fill_buf()).await {
            Ok(Ok([])) => Err(HandshakeError::Closed.into()),
            Ok(Err(error)) => Err(told(error)),
            // What was read stays in the stream.
            Ok(Ok(_)) | Err(_) => Ok(stream),
        }
    }

    /// Made for each handshake: it costs a few allocations, against signatures that cost a thousand times as much,
    /// and leaves nothing behind that would have to be brought up to date.
    fn config(&self) -> Result<ClientConfig, rustls::Error> {
        let credentials = self.material.current();
        let identity = SingleCertAndKey::from(credentials.identity.clone());
        let mut config = ClientConfig::builder_with_provider(credentials.provider.clone())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(ServerCheck {
                credentials,
                peer: self.peer.clone(),
            }))
            .with_client_cert_resolver(Arc::new(identity));
        config.alpn_protocols = vec![H2.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}
