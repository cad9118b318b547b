//! Mock nsqds that are reached through memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{DuplexStream, duplex};

use super::behavior::Behavior;
use super::latency::relay;
use super::mock_nsqd::MockNsqd;
use super::wire::serve;
use crate::dialer::Dialer;

/// What a socket's buffers may hold.
const PIPE: usize = 64 * 1024;

/// Mock nsqds by address, reached through memory with the network's [`Dialer`]. Cheap to clone.
///
/// An address without a mock refuses connections.
///
/// ```
/// use async_nsq::testing::MockNetwork;
/// use async_nsq::{Producer, ProducerConfig, Topic};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
/// # runtime.block_on(async {
/// let network = MockNetwork::new();
/// let nsqd = network.nsqd("nsqd-1:4150");
/// network.set_latency(Duration::from_millis(20));
///
/// let mut config = ProducerConfig::new("nsqd-1:4150");
/// config.connection.dialer = Some(network.dialer());
/// let producer = Producer::start(config)?;
/// producer.publish(&Topic::new("orders")?, "order 1").await?;
/// assert_eq!(nsqd.depth(), 1);
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct MockNetwork {
    parts: Arc<Mutex<Parts>>,
}

#[derive(Debug, Default)]
struct Parts {
    nsqds: BTreeMap<String, Arc<Behavior>>,
    latency: Duration,
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
        let mut parts = self.lock();
        let behavior = parts.nsqds.entry(address.clone()).or_default().clone();
        MockNsqd::new(address, behavior)
    }

    /// How long everything sent is under way, each way, on connections made from now on. Default no time.
    pub fn set_latency(&self, latency: Duration) {
        self.lock().latency = latency;
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
        let parts = self.lock();
        let behavior = parts.nsqds.get(address).filter(|behavior| !behavior.refuses());
        let behavior = behavior.ok_or(io::ErrorKind::ConnectionRefused)?.clone();
        let (client, mut server) = duplex(PIPE);
        if !parts.latency.is_zero() {
            let (near, far) = duplex(PIPE);
            tokio::spawn(relay(server, near, parts.latency));
            server = far;
        }
        tokio::spawn(serve(server, behavior));
        Ok(client)
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        // Nothing under the lock can panic half-way.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
