//! Reaching nsqd.

use std::sync::Arc;

use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use super::Transport;
use crate::error::ConnectionError;

/// What an address of a Unix socket begins with; the path follows.
const UNIX_PREFIX: &str = "unix:";

/// Connects to `host:port`, resolved anew and tried until one answers, or to `unix:/path`.
pub(crate) async fn dial(address: &str) -> Result<Box<dyn Transport>, ConnectionError> {
    let failed = |source| ConnectionError::Dial {
        address: address.to_owned(),
        source: Arc::new(source),
    };
    if let Some(path) = address.strip_prefix(UNIX_PREFIX) {
        return dial_unix(path).await.map_err(failed);
    }
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    // Commands are gathered before they are written, so nothing is gained by waiting for more.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(Box::new(stream))
}

#[cfg(unix)]
async fn dial_unix(path: &str) -> std::io::Result<Box<dyn Transport>> {
    Ok(Box::new(UnixStream::connect(path).await?))
}

#[cfg(not(unix))]
async fn dial_unix(_: &str) -> std::io::Result<Box<dyn Transport>> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The host of an address, which is the name that a certificate is to bear; `None` for a Unix socket.
#[cfg(feature = "tls")]
pub(super) fn host(address: &str) -> Option<&str> {
    if address.starts_with(UNIX_PREFIX) {
        return None;
    }
    let (host, _port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    Some(bare.unwrap_or(host))
}

#[cfg(all(test, feature = "tls"))]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_is_what_a_certificate_names() {
        assert_eq!(host("nsqd.internal:4150"), Some("nsqd.internal"));
        assert_eq!(host("127.0.0.1:4150"), Some("127.0.0.1"));
        assert_eq!(host("[::1]:4150"), Some("::1"));
        assert_eq!(host("unix:/run/nsqd.sock"), None);
    }
}
