//! Mock nsqds that are reached through memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{DuplexStream, duplex};

use super::behavior::Behavior;
use super::mock_nsqd::MockNsqd;
use super::wire::serve;
use crate::dialer::Dialer;

/// What a socket's buffers may hold.
const PIPE: usize = 64 * 1024;

/// Mock nsqds by address, reached through memory with the network's [`Dialer`]. Cheap to clone.
///
/// An address without a mock refuses connections.
#[derive(Debug, Clone, Default)]
pub struct MockNetwork {
    nsqds: Arc<Mutex<BTreeMap<String, Arc<Behavior>>>>,
}

// === impl MockNetwork ===

impl MockNetwork {
    /// A network without any nsqd.
    pub fn new() -> Self {
        Self::default()
    }

    /// The nsqd at this address; the first call with an address puts one there.
    pub fn nsqd(&self, address: impl Into<String>) -> MockNsqd {
        let address = address.into();
        let mut nsqds = self.nsqds.lock().unwrap_or_else(PoisonError::into_inner);
        let behavior = nsqds.entry(address.clone()).or_default().clone();
        MockNsqd::new(address, behavior)
    }

    /// For [`ConnectionConfig::dialer`](crate::ConnectionConfig::dialer).
    pub fn dialer(&self) -> Dialer {
        let network = self.clone();
        Dialer::new(move |address| {
            let connected = network.connect(&address);
            async move { connected }
        })
    }

    fn connect(&self, address: &str) -> io::Result<DuplexStream> {
        let nsqds = self.nsqds.lock().unwrap_or_else(PoisonError::into_inner);
        let behavior = nsqds.get(address).filter(|behavior| !behavior.refuses());
        let behavior = behavior.ok_or(io::ErrorKind::ConnectionRefused)?.clone();
        let (client, server) = duplex(PIPE);
        tokio::spawn(serve(server, behavior));
        Ok(client)
    }
}
