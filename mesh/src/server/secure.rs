//! What is spoken beneath HTTP/2.

use std::fmt;
use std::io;

use futures::future::BoxFuture;
use http::Extensions;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::tls::ServerTls;

/// Makes of an accepted socket a stream that others cannot read: [`ServerTls`], or a protocol of one's own.
///
/// What it takes is within the [`handshake_timeout`](super::ServerSettings::handshake_timeout).
pub trait Secure: Send + Sync + 'static {
    /// Shakes hands with whoever is at the other end.
    ///
    /// Dropped, it closes the socket.
    ///
    /// # Errors
    /// Where the other end is not who it has to be, or does not speak as expected; the connection is closed.
    fn secure(&self, socket: TcpStream) -> BoxFuture<'_, io::Result<Secured>>;
}

/// A stream that HTTP/2 can be spoken over.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// A connection that was secured.
pub struct Secured {
    pub(super) stream: Box<dyn Stream>,
    pub(super) extensions: Extensions,
}

// === impl Secured ===

impl Secured {
    /// A stream of whose other end nothing is known.
    pub fn new(stream: impl Stream) -> Self {
        Self {
            stream: Box::new(stream),
            extensions: Extensions::new(),
        }
    }

    /// Adds who is at the other end, for handlers to find in the extensions of each request.
    pub fn peer(mut self, peer: impl Clone + Send + Sync + 'static) -> Self {
        self.extensions.insert(peer);
        self
    }
}

// === impl Secure ===

/// Handlers find a [`PeerInfo`](crate::tls::PeerInfo) in the extensions of their requests.
impl Secure for ServerTls {
    fn secure(&self, socket: TcpStream) -> BoxFuture<'_, io::Result<Secured>> {
        Box::pin(async move {
            let (stream, peer) = self.accept(socket).await?;
            Ok(Secured::new(stream).peer(peer))
        })
    }
}

impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured").finish_non_exhaustive()
    }
}
