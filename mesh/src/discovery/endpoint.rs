//! One endpoint's address, and what a lookup found.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Where one endpoint is. Displayed as `10.0.0.1:50051`, `[::1]:50051`, `recognizer-0:50051` or `unix:/run/x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum EndpointAddress {
    /// An address to connect to.
    Socket(SocketAddr),
    /// A name that stands for one endpoint. It is resolved each time that one connects.
    Name { host: Box<str>, port: u16 },
    /// A Unix domain socket.
    Unix(PathBuf),
}

/// What is known of a target's endpoints.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The endpoints, sorted, none twice: those of the last lookup that found any.
    pub(crate) endpoints: Arc<[EndpointAddress]>,
    /// Why the last lookup found none, in words.
    pub(crate) error: Option<Arc<str>>,
    /// Whether a first lookup has ended, well or not. Before it, no endpoints means nothing.
    pub(crate) looked_up: bool,
}

// === impl EndpointAddress ===

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for EndpointAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

// === impl Found ===

impl Found {
    /// What is known before the first lookup.
    pub(super) fn nothing_yet() -> Self {
        Self {
            endpoints: Arc::new([]),
            error: None,
            looked_up: false,
        }
    }

    pub(super) fn these(endpoints: Arc<[EndpointAddress]>) -> Self {
        Self {
            endpoints,
            error: None,
            looked_up: true,
        }
    }
}
