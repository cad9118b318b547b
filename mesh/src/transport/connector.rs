//! Making one HTTP/2 connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::TcpStream;
use tonic::body::Body;

use crate::Settings;

pub(super) type Sender = http2::SendRequest<Body>;
pub(super) type Driver = http2::Connection<TokioIo<TcpStream>, Body, TokioExecutor>;

/// Where a target is.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) scheme: Scheme,
    pub(crate) authority: Authority,
}

/// Makes connections to an address.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    address: Address,
    connect_timeout: Duration,
    keepalive_timeout: Duration,
    tcp_user_timeout: Duration,
}

// === impl Address ===

impl Address {
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text
            .parse()
            .map_err(|error: http::uri::InvalidUri| error.to_string())?;
        let parts = uri.into_parts();
        if parts.scheme != Some(Scheme::HTTP) {
            return Err("the scheme is not http".to_owned());
        }
        let Some(authority) = parts.authority else {
            return Err("it has no host".to_owned());
        };
        if authority.host().is_empty() {
            return Err("it has no host".to_owned());
        }
        if authority.as_str().contains('@') {
            return Err("a user in it would be ignored".to_owned());
        }
        if parts.path_and_query.is_some_and(|path| path != "/") {
            return Err("a path in it would be ignored".to_owned());
        }
        Ok(Self {
            scheme: Scheme::HTTP,
            authority,
        })
    }

    fn host_and_port(&self) -> (&str, u16) {
        // The brackets of an IPv6 address belong to the URI and not to the name.
        let host = self
            .authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']');
        (host, self.authority.port_u16().unwrap_or(80))
    }
}

// === impl Connector ===

impl Connector {
    pub(crate) fn new(address: Address, settings: &Settings) -> Self {
        Self {
            address,
            connect_timeout: settings.connect_timeout,
            keepalive_timeout: settings.keepalive_timeout,
            tcp_user_timeout: settings.tcp_user_timeout,
        }
    }

    /// One attempt, within the connect timeout. Cancel safe.
    ///
    /// # Errors
    /// What went wrong, in words: every error here means the same to a caller.
    pub(super) async fn connect(&self, keepalive: Duration) -> Result<(Sender, Driver), Arc<str>> {
        match tokio::time::timeout(self.connect_timeout, self.attempt(keepalive)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(error.to_string().into()),
            Err(_) => Err(format!(
                "connecting took longer than {} ms",
                self.connect_timeout.as_millis()
            )
            .into()),
        }
    }

    async fn attempt(&self, keepalive: Duration) -> io::Result<(Sender, Driver)> {
        let stream = self.dial().await?;
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(keepalive)
            .keep_alive_timeout(self.keepalive_timeout)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)
    }

    async fn dial(&self) -> io::Result<TcpStream> {
        let (host, port) = self.address.host_and_port();
        // Tries all addresses of the name in turn.
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        self.set_user_timeout(&stream)?;
        Ok(stream)
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        let address = Address::parse("http://face-recog:50051").unwrap();
        assert_eq!(address.host_and_port(), ("face-recog", 50051));
        let address = Address::parse("http://[::1]:50051/").unwrap();
        assert_eq!(address.host_and_port(), ("::1", 50051));
        assert_eq!(
            Address::parse("http://localhost").unwrap().host_and_port(),
            ("localhost", 80)
        );
    }

    #[test]
    fn an_address_that_would_be_half_ignored_is_refused() {
        for text in [
            "",
            "face-recog:50051",
            "https://a:1",
            "ftp://a:1",
            "http://a:1/path",
            "http://u@a:1",
            "http://",
        ] {
            assert!(Address::parse(text).is_err(), "{text} was taken");
        }
    }

    #[tokio::test]
    async fn a_socket_sends_at_once_and_gives_up_what_is_not_acknowledged() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let stream = Connector::new(address, &Settings::default())
            .dial()
            .await
            .unwrap();
        assert!(stream.nodelay().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(
            SockRef::from(&stream).tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(15))
        );
    }
}
