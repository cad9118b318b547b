//! Mutual TLS: who we are and whom we trust, from files that may change while we run.
//!
//! Both sides show a certificate, and both check the other's: its chain against the CA, then its identity, a DNS name
//! or a SPIFFE ID. The files are read again when they change, and every handshake uses what is then the latest: a
//! certificate or a CA is exchanged without a restart. Sessions are never resumed, so trust in a CA that was taken
//! away does not live on in tickets. Connections that are up stay up.
//!
//! ```no_run
//! use safelight_mesh::tls::{ClientTls, PeerIdentity, TlsFiles};
//! # async fn run(stream: tokio::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
//! let files = TlsFiles {
//!     ca: "/etc/mesh/ca.pem".into(),
//!     certificate: "/etc/mesh/tls.crt".into(),
//!     key: "/etc/mesh/tls.key".into(),
//! };
//! let peer: PeerIdentity = "spiffe://example.org/ns/media/sa/recognizer".parse()?;
//! let tls = ClientTls::open(files, peer)?;
//! let stream = tls.connect(stream, "recognizer").await?;
//! # drop(stream);
//! # Ok(())
//! # }
//! ```

mod client;
mod credentials;
mod error;
mod files;
mod handshake;
mod identity;
mod reload;
mod server;
mod verify;

#[cfg(feature = "clap")]
mod args;

#[cfg(feature = "clap")]
pub use args::TlsArgs;
pub use client::ClientTls;
pub use error::TlsError;
pub use files::TlsFiles;
pub use handshake::HandshakeError;
pub use identity::{PeerIdentity, PeerInfo};
pub use server::ServerTls;
