//! What a simulator takes hold of: chance, and the way to a server. Time is tokio's, which it may pause.
//!
//! Not part of the API: it may change in any version.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use crate::random::seed;

/// A connection of bytes to a server.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A wire that is being made.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>> + Send>>;

/// Makes wires in place of sockets. Clones are the same dialer.
#[derive(Clone)]
pub struct Dialer {
    dial: Arc<dyn Fn(&str) -> Dialing + Send + Sync>,
}

// === impl Dialer ===

impl Dialer {
    /// `dial` is given the address of an endpoint as text, such as `10.0.0.1:50051`.
    pub fn new(dial: impl Fn(&str) -> Dialing + Send + Sync + 'static) -> Self {
        Self { dial: Arc::new(dial) }
    }

    pub(crate) fn dial(&self, address: &str) -> Dialing {
        (self.dial)(address)
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").finish_non_exhaustive()
    }
}
