//! Certificates for services that call each other.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::Service;

/// Issues certificates, into files of a folder.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    /// A new one; its own certificate is `ca.pem` in the folder.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        fs::write(folder.join("ca.pem"), certificate.pem()).expect("a file");
        Self {
            issuer: Issuer::new(params, key),
            folder: folder.to_owned(),
        }
    }

    /// Gives a service a certificate of this name, and tells it to show it and to ask for others'.
    pub(crate) fn introduce(&self, service: Service, name: &str) -> Service {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let file = |suffix: &str| self.folder.join(format!("{name}.{suffix}"));
        fs::write(file("crt"), certificate.pem()).expect("a file");
        fs::write(file("key"), key.serialize_pem()).expect("a file");
        service
            .variable("MESH_TLS_CA", self.folder.join("ca.pem").display())
            .variable("MESH_TLS_CERT", file("crt").display())
            .variable("MESH_TLS_KEY", file("key").display())
    }
}
