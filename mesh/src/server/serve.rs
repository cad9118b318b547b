//! From the first connection to the last.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::builder::ServerBuilder;
use super::connection::Connections;
use super::metric_names as names;
use super::phase::Phase;

/// The pause after the system could not give a connection, for want of file descriptors or memory.
const BREATH: Duration = Duration::from_millis(100);

/// What a handler that is cut may take to be dropped. One that blocks its thread is not waited for longer.
const LETTING_GO: Duration = Duration::from_secs(1);

/// A gRPC server: services behind one gate, and an end in good order.
pub struct Server {
    pub(super) name: String,
    pub(super) connections: Arc<Connections>,
    /// One for each connection that there may be.
    pub(super) places: Arc<Semaphore>,
    pub(super) phase: watch::Sender<Phase>,
    /// The calls that the drain waits for.
    pub(super) running: TaskTracker,
    /// The connections.
    pub(super) tasks: TaskTracker,
}

/// How a server ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// The calls that ran when it stopped taking connections, other than health and reflection.
    pub running: usize,
    /// Those of the calls that ran at the end of the time to drain, and were cut.
    pub cut: usize,
    /// How long it took from there to the end.
    pub took: Duration,
}

// === impl Server ===

impl Server {
    /// Begins to make a server. The name is for its log lines.
    pub fn builder(name: impl Into<String>) -> ServerBuilder {
        ServerBuilder::new(name.into())
    }

    /// Serves until `shutdown` is ready, and then ends in good order:
    ///
    /// 1. health says `NOT_SERVING`, and for [`notice`](super::ServerSettings::notice) that is all;
    /// 2. the listener is closed, after those who wait in its queue were taken in;
    /// 3. every connection is told GOAWAY. What its client sent before it heard of it is still served, what it
    ///    sent later is refused as not processed, and may safely go elsewhere;
    /// 4. connections close as their calls end, for at most [`drain`](super::ServerSettings::drain). What still
    ///    runs then is dropped.
    ///
    /// Returns when no handler runs any more. Not cancel safe: dropped, it drops all connections and calls.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> DrainReport {
        self.take_until_shutdown(&listener, shutdown).await;
        while let Some(Ok((socket, _))) = listener.accept().now_or_never() {
            self.take(socket);
        }
        drop(listener);
        self.drain().await
    }

    async fn take_until_shutdown(&self, listener: &TcpListener, shutdown: impl Future<Output = ()>) {
        let mut taking = pin!(self.take_all(listener));
        tokio::select! {
            () = &mut taking => {}
            () = shutdown => {}
        }
        self.phase.send_replace(Phase::NotReady);
        tracing::info!(server = self.name, calls = self.running.len(), "stopping");
        let notice = self.connections.settings.notice;
        if !notice.is_zero() {
            tokio::select! {
                () = taking => {}
                () = sleep(notice) => {}
            }
        }
    }

    /// Takes connections, without an end.
    async fn take_all(&self, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => self.take(socket),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(server = self.name, %error, "the system gives no connection");
                    sleep(BREATH).await;
                }
            }
        }
    }

    fn take(&self, socket: TcpStream) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            metrics::counter!(names::CONNECTIONS_REFUSED, "reason" => "limit").increment(1);
            tracing::debug!(server = self.name, "a connection over the limit was closed");
            return;
        };
        // Answers are small and whole; waiting for more of them would only delay them.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
        let connections = self.connections.clone();
        self.tasks
            .spawn(connections.serve(socket, self.phase.subscribe(), place));
    }

    async fn drain(self) -> DrainReport {
        let began = Instant::now();
        let running = self.running.len();
        self.phase.send_replace(Phase::Stopping);
        self.tasks.close();
        self.running.close();
        let settings = &self.connections.settings;
        let in_time = timeout(settings.drain, self.tasks.wait()).await.is_ok();
        let cut = if in_time { 0 } else { self.running.len() };
        self.phase.send_replace(Phase::Cut);
        let gone = async {
            self.tasks.wait().await;
            self.running.wait().await;
        };
        if timeout(LETTING_GO, gone).await.is_err() {
            tracing::error!(
                server = self.name,
                calls = self.running.len(),
                "handlers that block their threads were left behind"
            );
        }
        let took = began.elapsed();
        if cut > 0 {
            tracing::warn!(
                server = self.name,
                calls = cut,
                ?took,
                "calls still running were cut off"
            );
        }
        DrainReport { running, cut, took }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}

/// Errors by which `accept` tells of a connection that was over before it was taken (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
