//! One connection from its handshake to its end.

use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Extensions;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{sleep, timeout};

use super::gate::{Entrance, Gate};
use super::metric_names as names;
use super::phase::{Phase, reached};
use super::preface::{self, Opened};
use super::secure::{Secure, Stream};
use super::settings::ServerSettings;
use crate::grpc::TcpConnectInfo;

/// What all connections have in common.
pub(super) struct Connections {
    pub(super) gate: Arc<Gate>,
    pub(super) settings: ServerSettings,
    pub(super) secure: Option<Arc<dyn Secure>>,
    pub(super) open: metrics::Gauge,
    http2: http2::Builder<TokioExecutor>,
}

/// Counts an open connection for as long as it lives.
struct Counted<'a>(&'a metrics::Gauge);

// === impl Connections ===

impl Connections {
    pub(super) fn new(gate: Arc<Gate>, settings: ServerSettings, secure: Option<Arc<dyn Secure>>) -> Self {
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(settings.max_streams)
            .max_header_list_size(settings.max_header_bytes)
            .keep_alive_interval(settings.keepalive_interval)
            .keep_alive_timeout(settings.keepalive_timeout);
        Self {
            gate,
            settings,
            secure,
            open: metrics::gauge!(names::CONNECTIONS),
            http2,
        }
    }

    /// Serves until the client is gone, the connection is too old, or the server stops; in the last two what runs
    /// is finished first.
    pub(super) async fn serve(
        self: Arc<Self>,
        socket: TcpStream,
        mut phases: watch::Receiver<Phase>,
        _place: OwnedSemaphorePermit,
    ) {
        let _counted = Counted::new(&self.open);
        let handshake = timeout(self.settings.handshake_timeout, self.shake_hands(socket));
        let shaken = tokio::select! {
            biased;
            () = reached(&mut phases, Phase::Cut) => return,
            shaken = handshake => shaken,
        };
        let error = match shaken {
            Ok(Ok((stream, peer))) => return self.speak(stream, peer, phases).await,
            // Whoever only looks whether the port is open is no news.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return,
            Ok(Err(error)) => error,
            Err(_elapsed) => io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"),
        };
        metrics::counter!(names::CONNECTIONS_REFUSED, "reason" => "handshake").increment(1);
        tracing::debug!(%error, "a connection was turned away");
    }

    async fn shake_hands(&self, socket: TcpStream) -> io::Result<(Opened<Box<dyn Stream>>, Extensions)> {
        let addresses = TcpConnectInfo {
            local_addr: socket.local_addr().ok(),
            remote_addr: socket.peer_addr().ok(),
        };
        let (stream, mut peer): (Box<dyn Stream>, Extensions) = match &self.secure {
            Some(secure) => {
                let secured = secure.secure(socket).await?;
                (secured.stream, secured.extensions)
            }
            None => (Box::new(socket), Extensions::new()),
        };
        peer.insert(addresses);
        Ok((preface::read(stream).await?, peer))
    }

    async fn speak(
        &self,
        stream: Opened<Box<dyn Stream>>,
        peer: Extensions,
        mut phases: watch::Receiver<Phase>,
    ) {
        let entrance = Entrance {
            gate: self.gate.clone(),
            peer,
        };
        let mut connection = pin!(self.http2.serve_connection(TokioIo::new(stream), entrance));
        let mut cut = phases.clone();
        let mut cut = pin!(reached(&mut cut, Phase::Cut));
        let told = tokio::select! {
            ended = &mut connection => return log(ended),
            () = reached(&mut phases, Phase::Stopping) => true,
            () = aged(self.settings.connection_age()) => false,
        };
        tracing::trace!(stopping = told, "a connection is ended in good order");
        // GOAWAY; what the client sent before it heard of it is still served (RFC 9113, section 6.8).
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = connection => log(ended),
            // Dropped, the connection's calls find their streams gone, and drop their handlers.
            () = &mut cut => {}
        }
    }
}

async fn aged(age: Option<Duration>) {
    match age {
        Some(age) => sleep(age).await,
        None => pending().await,
    }
}

fn log(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(error = crate::error::chain(&error), "a connection broke");
    }
}

// === impl Counted ===

impl<'a> Counted<'a> {
    fn new(gauge: &'a metrics::Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
