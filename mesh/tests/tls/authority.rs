//! Certificates of a test's own, and handshakes with them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use safelight_mesh::tls::{ClientTls, HandshakeError, PeerIdentity, PeerInfo, ServerTls, TlsFiles};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

pub(crate) const SERVER: &str = "recognizer.test";
pub(crate) const CLIENT: &str = "processor.test";
pub(crate) const SERVER_ID: &str = "spiffe://test.org/recognizer";
pub(crate) const CLIENT_ID: &str = "spiffe://test.org/processor";

/// Issues certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key.
pub(crate) struct Leaf {
    pub(crate) pem: String,
    pub(crate) key: String,
}

/// The three files of one side, in a directory of their own.
pub(crate) struct Directory(TempDir);

/// What both sides say of a handshake.
pub(crate) struct Outcome {
    /// What the server made of the client, and the greeting that the client read.
    pub(crate) server: Result<PeerInfo, HandshakeError>,
    pub(crate) client: Result<String, HandshakeError>,
}

// === impl Authority ===

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // All have the same name, as an authority that renews its key has.
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for these DNS names, IP addresses and URIs.
    pub(crate) fn leaf(&self, names: &[&str]) -> Leaf {
        self.issue(names, |_| {})
    }

    pub(crate) fn expired_leaf(&self, names: &[&str]) -> Leaf {
        self.issue(names, |params| params.not_after = date_time_ymd(2020, 1, 1))
    }

    pub(crate) fn future_leaf(&self, names: &[&str]) -> Leaf {
        self.issue(names, |params| params.not_before = date_time_ymd(4000, 1, 1))
    }

    pub(crate) fn leaf_for(&self, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> Leaf {
        self.issue(names, |params| params.extended_key_usages = vec![purpose])
    }

    /// An authority below this one, and the certificates to put after those that it issues.
    pub(crate) fn intermediate(&self) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "test intermediate");
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.iter().map(|name| alternative_name(name)).collect();
        change(&mut params);
        Leaf {
            pem: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

fn alternative_name(name: &str) -> SanType {
    match name.parse() {
        Ok(ip) => SanType::IpAddress(ip),
        Err(_) if name.contains("://") => SanType::URI(name.try_into().unwrap()),
        Err(_) => SanType::DnsName(name.try_into().unwrap()),
    }
}

// === impl Directory ===

impl Directory {
    /// What `trusted` issued is trusted, and `leaf` is shown.
    pub(crate) fn with(trusted: &Authority, leaf: &Leaf) -> Self {
        let directory = Self(TempDir::new().unwrap());
        directory.write("ca.pem", &trusted.pem);
        directory.write_leaf(leaf);
        directory
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path().join(file), text).unwrap();
    }

    pub(crate) fn write_leaf(&self, leaf: &Leaf) {
        self.write("tls.crt", &leaf.pem);
        self.write("tls.key", &leaf.key);
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn files(&self) -> TlsFiles {
        TlsFiles {
            ca: self.path().join("ca.pem"),
            certificate: self.path().join("tls.crt"),
            key: self.path().join("tls.key"),
        }
    }

    pub(crate) fn client(&self, peer: &str) -> ClientTls {
        ClientTls::open(self.files(), identity(peer)).unwrap()
    }

    pub(crate) fn server(&self, peers: &[&str]) -> ServerTls {
        ServerTls::open(self.files(), peers.iter().map(|peer| identity(peer)).collect()).unwrap()
    }
}

pub(crate) fn identity(text: &str) -> PeerIdentity {
    text.parse().unwrap()
}

/// What a failed handshake was told to be.
pub(crate) fn told(error: io::Error) -> HandshakeError {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<HandshakeError>())
    {
        Some(told) => told.clone(),
        None => panic!("not told as a handshake's: {error:?}"),
    }
}

/// A handshake of the two. A server that is content greets; a client that is content has read the greeting.
pub(crate) async fn handshake(client: &ClientTls, server: &ServerTls) -> Outcome {
    let (near, far) = duplex(64 * 1024);
    let (server, client) = tokio::join!(accept(server, far), async {
        let mut stream = client.connect(near, SERVER).await.map_err(told)?;
        let mut greeting = String::new();
        stream.read_to_string(&mut greeting).await.map_err(told)?;
        Ok(greeting)
    });
    Outcome { server, client }
}

pub(crate) const GREETING: &str = "as if these were settings";

pub(crate) async fn accept(server: &ServerTls, stream: DuplexStream) -> Result<PeerInfo, HandshakeError> {
    let (mut stream, peer) = server.accept(stream).await.map_err(told)?;
    stream.write_all(GREETING.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    Ok(peer)
}

// === others' sides, made of rustls alone ===

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

pub(crate) fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.pem)).unwrap();
    roots
}

pub(crate) fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

pub(crate) fn key(leaf: &Leaf) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap()
}

/// A client that shows `leaf`, or nothing, and speaks these protocols.
pub(crate) fn plain_client(authority: &Authority, leaf: Option<&Leaf>, protocols: &[&str]) -> ClientConfig {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(authority));
    let mut config = match leaf {
        Some(leaf) => config
            .with_client_auth_cert(vec![certificate(&leaf.pem)], key(leaf))
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// A server that asks for no certificate and speaks these protocols.
pub(crate) fn plain_server(leaf: &Leaf, protocols: &[&str]) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate(&leaf.pem)], key(leaf))
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}
