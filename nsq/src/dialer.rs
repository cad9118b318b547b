//! Another way to nsqd than a TCP connect.

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::ConnectionError;
use crate::transport::Transport;

type DialFn = dyn Fn(String) -> BoxFuture<'static, io::Result<Box<dyn Transport>>> + Send + Sync;

/// Makes the byte stream below a connection, in place of a TCP connect: through a proxy, from another local
/// address, or to a mock in memory. Cheap to clone.
///
/// It is called with the address as configured or discovered, at each connect, and its time counts
/// towards [`handshake_timeout`](crate::ConnectionConfig::handshake_timeout).
///
/// ```
/// use async_nsq::{ConnectionConfig, Dialer};
/// use tokio::net::{TcpSocket, TcpStream};
///
/// let mut config = ConnectionConfig::default();
/// // From a local address of our choice.
/// config.dialer = Some(Dialer::new(|address| async move {
///     let peer = tokio::net::lookup_host(address).await?.next();
///     let peer = peer.ok_or(std::io::ErrorKind::NotFound)?;
///     let socket = TcpSocket::new_v4()?;
///     socket.bind("127.0.0.2:0".parse().map_err(std::io::Error::other)?)?;
///     let stream: TcpStream = socket.connect(peer).await?;
///     stream.set_nodelay(true)?;
///     Ok(stream)
/// }));
/// ```
#[derive(Clone)]
pub struct Dialer(Arc<DialFn>);

// === impl Dialer ===

impl Dialer {
    /// A dialer that calls this function.
    pub fn new<F, D, S>(dial: F) -> Self
    where
        F: Fn(String) -> D + Send + Sync + 'static,
        D: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self(Arc::new(move |address| {
            let dialing = dial(address);
            Box::pin(async move { dialing.await.map(|stream| Box::new(stream) as Box<dyn Transport>) })
        }))
    }

    pub(crate) async fn dial(&self, address: &str) -> Result<Box<dyn Transport>, ConnectionError> {
        let dialed = (self.0)(address.to_owned()).await;
        dialed.map_err(|source| ConnectionError::Dial {
            address: address.to_owned(),
            source: Arc::new(source),
        })
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dialer")
    }
}
