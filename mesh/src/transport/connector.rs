//! Making one HTTP/2 connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tokio_util::io::InspectReader;

use super::Origin;
use crate::Settings;
use crate::call::ReplayBody;
use crate::discovery::EndpointAddress;
use crate::simulation::{Dialer, Wire};
use crate::tls::ClientTls;

pub(crate) type Sender = http2::SendRequest<ReplayBody>;
pub(super) type Driver = http2::Connection<TokioIo<Heard>, ReplayBody, TokioExecutor>;
type Socket = Either<TcpStream, UnixStream>;
type Plain = Either<Socket, Box<dyn Wire>>;
type Stream = Either<Plain, TlsStream<Plain>>;
/// A stream that tells of what is read from it.
type Heard = InspectReader<Stream, Box<dyn FnMut(&[u8]) + Send>>;

/// Makes connections to the endpoints of a target.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    origin: Arc<Origin>,
    tls: Option<(ClientTls, Arc<str>)>,
    connect_timeout: Duration,
    keepalive_timeout: Duration,
    tcp_user_timeout: Duration,
    /// Instead of sockets.
    dialer: Option<Dialer>,
}

/// What an attempt to connect met.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoConnection {
    #[error(transparent)]
    Failed(#[from] io::Error),
    #[error("connecting took longer than {} ms", .0.as_millis())]
    TooLong(Duration),
    /// The connection ended as soon as it was made.
    #[error("closed as soon as it was made")]
    Ended(hyper::Result<()>),
}

// === impl Connector ===

impl Connector {
    /// `tls` with the name that the server's certificate has to bear.
    pub(crate) fn new(origin: Origin, tls: Option<(ClientTls, Arc<str>)>, settings: &Settings) -> Self {
        Self {
            origin: Arc::new(origin),
            tls,
            connect_timeout: settings.connect_timeout,
            keepalive_timeout: settings.keepalive_timeout,
            tcp_user_timeout: settings.tcp_user_timeout,
            dialer: None,
        }
    }

    pub(crate) fn with_dialer(mut self, dialer: Option<Dialer>) -> Self {
        self.dialer = dialer;
        self
    }

    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// One attempt, within the connect timeout. Cancel safe.
    ///
    /// A connection is one when the server has said its first word, which in HTTP/2 is its SETTINGS (RFC 9113,
    /// section 3.4): the kernel accepts connections for a process that is stuck, too.
    ///
    /// # Errors
    /// What went wrong. To a caller it means the same, whatever it was.
    pub(super) async fn connect(
        &self,
        address: &EndpointAddress,
        keepalive: Duration,
    ) -> Result<(Sender, Driver), NoConnection> {
        match tokio::time::timeout(self.connect_timeout, self.attempt(address, keepalive)).await {
            Ok(connection) => connection,
            Err(_) => Err(NoConnection::TooLong(self.connect_timeout)),
        }
    }

    async fn attempt(
        &self,
        address: &EndpointAddress,
        keepalive: Duration,
    ) -> Result<(Sender, Driver), NoConnection> {
        let stream = self.dial(address).await?;
        let stream = match &self.tls {
            None => Either::Left(stream),
            Some((tls, name)) => Either::Right(tls.connect(stream, name).await?),
        };
        let (first, heard) = oneshot::channel();
        let mut first = Some(first);
        let stream: Heard = InspectReader::new(
            stream,
            Box::new(move |bytes| {
                if !bytes.is_empty()
                    && let Some(first) = first.take()
                {
                    // Nobody need wait for it.
                    let _ = first.send(());
                }
            }),
        );
        let (sender, mut driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(keepalive)
            .keep_alive_timeout(self.keepalive_timeout)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::select! {
            biased;
            ended = &mut driver => Err(NoConnection::Ended(ended)),
            _ = heard => Ok((sender, driver)),
        }
    }

    async fn dial(&self, address: &EndpointAddress) -> io::Result<Plain> {
        if let Some(dialer) = &self.dialer {
            return Ok(Either::Right(dialer.dial(&address.to_string()).await?));
        }
        let stream = match address {
            EndpointAddress::Socket(address) => TcpStream::connect(address).await?,
            // Tries all addresses of the name in turn.
            EndpointAddress::Name { host, port } => TcpStream::connect((&**host, *port)).await?,
            EndpointAddress::Unix(path) => {
                return Ok(Either::Left(Either::Right(UnixStream::connect(path).await?)));
            }
        };
        stream.set_nodelay(true)?;
        self.set_user_timeout(&stream)?;
        Ok(Either::Left(Either::Left(stream)))
    }

    /// Without it the kernel resends into the void for a quarter of an hour.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn set_user_timeout(&self, stream: &TcpStream) -> io::Result<()> {
        SockRef::from(stream).set_tcp_user_timeout(Some(self.tcp_user_timeout))
    }

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    fn set_user_timeout(&self, _stream: &TcpStream) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) fn test_connector() -> Connector {
    use http::uri::{Authority, Scheme};
    let origin = Origin {
        scheme: Scheme::HTTP,
        authority: Authority::from_static("test"),
    };
    Connector::new(origin, None, &Settings::default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[tokio::test]
    async fn a_socket_sends_at_once_and_gives_up_what_is_not_acknowledged() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = EndpointAddress::Socket(listener.local_addr().unwrap());
        let Either::Left(Either::Left(stream)) = test_connector().dial(&address).await.unwrap() else {
            panic!("an IP address is reached by TCP");
        };
        assert!(stream.nodelay().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(
            SockRef::from(&stream).tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(15))
        );
    }
}
