//! The three files.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::TlsError;

/// Where certificate, key and CA are, all as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates of the authorities whose peers are trusted; one or more.
    pub ca: PathBuf,
    /// Our own certificate, and after it those between it and its authority.
    pub certificate: PathBuf,
    /// The private key of our certificate: PKCS #8, PKCS #1 or SEC 1.
    pub key: PathBuf,
}

/// What the files hold at one time.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) ca: Vec<u8>,
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

// === impl TlsFiles ===

impl TlsFiles {
    /// Blocks.
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        Ok(Contents {
            ca: read("CA file", &self.ca)?,
            certificate: read("certificate", &self.certificate)?,
            key: read("key", &self.key)?,
        })
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    })
}
