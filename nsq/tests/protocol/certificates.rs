//! Certificates of a test's own, and nsqds that show them.

use async_nsq::{ConnectionConfig, TlsConfig};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use safelight_testkit::{ServerDirectory, free_port};

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

/// The files that nsqd is started with.
pub(crate) struct ServerFiles {
    _directory: ServerDirectory,
    flags: Vec<String>,
}

// === impl Authority ===

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for this name or address, which is its common name, too.
    pub(crate) fn leaf(&self, name: &str) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        Leaf {
            pem: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// For an nsqd on 127.0.0.1.
    pub(crate) fn server(&self) -> ServerFiles {
        self.server_named("127.0.0.1")
    }

    pub(crate) fn server_named(&self, name: &str) -> ServerFiles {
        let directory = ServerDirectory::create("certificates").unwrap();
        let leaf = self.leaf(name);
        let file = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        let flags = vec![
            format!("--tls-cert={}", file("server.pem", &leaf.pem)),
            format!("--tls-key={}", file("server.key", &leaf.key)),
            format!("--tls-root-ca-file={}", file("ca.pem", &self.pem)),
            format!("--https-address=127.0.0.1:{}", free_port()),
        ];
        ServerFiles {
            _directory: directory,
            flags,
        }
    }

    /// Trusts what this authority issued.
    pub(crate) fn trusting(&self) -> TlsConfig {
        let builder = TlsConfig::builder().ca_pem(self.pem.as_bytes()).unwrap();
        builder.build().unwrap()
    }

    pub(crate) fn trusting_config(&self) -> ConnectionConfig {
        with_tls(self.trusting())
    }

    /// As [`trusting_config`](Self::trusting_config), and shows `leaf`.
    pub(crate) fn config_showing(&self, leaf: &Leaf) -> ConnectionConfig {
        let builder = TlsConfig::builder().ca_pem(self.pem.as_bytes()).unwrap();
        let builder = builder.client_certificate_pem(leaf.pem.as_bytes(), leaf.key.as_bytes());
        with_tls(builder.unwrap().build().unwrap())
    }
}

pub(crate) fn with_tls(tls: TlsConfig) -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.tls = Some(tls);
    config
}

// === impl ServerFiles ===

impl ServerFiles {
    pub(crate) fn flags(&self) -> Vec<&str> {
        self.flags.iter().map(String::as_str).collect()
    }

    pub(crate) fn flags_and<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        [self.flags(), more.to_vec()].concat()
    }
}
