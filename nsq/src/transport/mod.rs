//! The byte stream below a connection.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::error::ConnectionError;

/// Anything that carries bytes both ways: TCP, or a layer on top of it.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Resolves `address` (`host:port`) anew and connects to the first that answers.
pub(crate) async fn dial(address: &str) -> Result<Box<dyn Transport>, ConnectionError> {
    let failed = |source| ConnectionError::Dial {
        address: address.to_owned(),
        source: Arc::new(source),
    };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    // Commands are gathered before they are written, so nothing is gained by waiting for more.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(Box::new(stream))
}
