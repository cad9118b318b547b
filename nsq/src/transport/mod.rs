//! The byte stream below a connection: a socket, and the layers that were negotiated on top of it.

#[cfg(any(feature = "snappy", feature = "deflate"))]
mod compressed;
#[cfg(feature = "deflate")]
mod deflate;
mod layers;
#[cfg(feature = "snappy")]
mod snappy;
mod socket;
#[cfg(feature = "tls")]
mod tls;

use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use layers::{compress, encrypt, require_tls};
pub(crate) use socket::dial;
#[cfg(feature = "tls")]
pub use tls::{TlsConfig, TlsConfigBuilder, TlsConfigError};

/// Anything that carries bytes both ways: a socket, or a layer on top of it.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}
