//! A network in memory: hosts that can be reached, refuse, or swallow all that is sent.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

/// The hosts of a scenario. Clones are the same network.
#[derive(Clone)]
pub(crate) struct Network {
    hosts: Arc<[Host]>,
}

struct Host {
    address: SocketAddr,
    gate: Arc<Gate>,
    /// Where a server takes connections; without one they are refused.
    listener: Mutex<Option<mpsc::UnboundedSender<io::Result<DuplexStream>>>>,
}

/// Lets bytes through, or none in either direction.
#[derive(Default)]
struct Gate {
    shut: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

/// The client's end of a connection.
pub(crate) struct Wire {
    bytes: DuplexStream,
    gate: Arc<Gate>,
}

/// What a connection holds in each direction before its writer waits.
const BUFFER: usize = 64 << 10;

// === impl Network ===

impl Network {
    /// Hosts `10.0.0.1` and on, all at the port that gRPC's examples use.
    pub(crate) fn new(hosts: u8) -> Self {
        let hosts = (1..=hosts).map(|host| Host {
            address: SocketAddr::from(([10, 0, 0, host], 50051)),
            gate: Arc::default(),
            listener: Mutex::default(),
        });
        Self {
            hosts: hosts.collect(),
        }
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.hosts.iter().map(|host| host.address.to_string()).collect()
    }

    /// Connects as TCP does: at once, never while the host swallows everything, refused where nobody listens.
    pub(crate) async fn dial(&self, address: &str) -> io::Result<Wire> {
        let host = self.hosts.iter().find(|host| host.address.to_string() == address);
        let host = host.ok_or(io::ErrorKind::AddrNotAvailable)?;
        std::future::poll_fn(|cx| host.gate.poll_open(cx)).await;
        let (bytes, theirs) = tokio::io::duplex(BUFFER);
        let listener = host.listener.lock().unwrap();
        let listener = listener.as_ref().ok_or(io::ErrorKind::ConnectionRefused)?;
        listener
            .send(Ok(theirs))
            .map_err(|_| io::ErrorKind::ConnectionRefused)?;
        let gate = host.gate.clone();
        Ok(Wire { bytes, gate })
    }

    /// Takes connections at a host.
    pub(crate) fn listen(&self, host: usize) -> mpsc::UnboundedReceiver<io::Result<DuplexStream>> {
        let (listener, incoming) = mpsc::unbounded_channel();
        *self.hosts[host].listener.lock().unwrap() = Some(listener);
        incoming
    }

    /// Refuses connections at a host; those that are there stay.
    pub(crate) fn refuse(&self, host: usize) {
        *self.hosts[host].listener.lock().unwrap() = None;
    }

    /// Swallows all that goes to and from a host, or no longer: then what was sent arrives.
    pub(crate) fn swallow(&self, host: usize, shut: bool) {
        self.hosts[host].gate.set(shut);
    }
}

// === impl Gate ===

impl Gate {
    fn set(&self, shut: bool) {
        self.shut.store(shut, Ordering::Relaxed);
        if !shut {
            self.waiting.lock().unwrap().drain(..).for_each(Waker::wake);
        }
    }

    fn poll_open(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.shut.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.lock().unwrap();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

// === impl Wire ===

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll_open(cx));
        Pin::new(&mut self.bytes).poll_read(cx, to)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        std::task::ready!(self.gate.poll_open(cx));
        Pin::new(&mut self.bytes).poll_write(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(cx)
    }
}
