//! The task that owns a producer's connection.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::request::{Bounds, Request};
use super::{ProducerConfig, ProducerState};
use crate::backoff::Backoff;
use crate::connection::Connection;
use crate::error::{ConnectionError, PublishError};
use crate::frame::Frame;

pub(super) struct ProducerTask {
    config: Arc<ProducerConfig>,
    incoming: mpsc::UnboundedReceiver<Request>,
    bounds: Bounds,
    state: watch::Sender<ProducerState>,
    closing: CancellationToken,
    /// Not sent yet, oldest first. Bounded, as every request holds a place of `bounds`.
    queued: VecDeque<Request>,
    /// `false` once nothing more can come in.
    open: bool,
}

/// A request whose answer is outstanding. nsqd answers in the order of the commands.
struct Sent {
    request: Request,
    /// Where its command ends in the stream of bytes.
    end: u64,
}

/// How a connection ended.
#[derive(Debug)]
struct Lost {
    error: ConnectionError,
    /// nsqd closed it over one command, whose sender has been told, and did not look at the rest.
    rest_unseen: bool,
}

// === impl ProducerTask ===

impl ProducerTask {
    pub(super) fn new(
        config: Arc<ProducerConfig>,
        incoming: mpsc::UnboundedReceiver<Request>,
        bounds: Bounds,
        state: watch::Sender<ProducerState>,
        closing: CancellationToken,
    ) -> Self {
        Self {
            config,
            incoming,
            bounds,
            state,
            closing,
            queued: VecDeque::new(),
            open: true,
        }
    }

    pub(super) async fn run(mut self) {
        let connection = &self.config.connection;
        let mut backoff = Backoff::new(connection.reconnect_first, connection.reconnect_longest);
        while !self.is_done() {
            let error = match self.connect().await {
                None => continue,
                Some(Err(error)) => error,
                Some(Ok(mut connection)) => {
                    self.state.send_replace(ProducerState::Connected);
                    info!(nsqd = %self.config.address, "producer connected");
                    let connected_at = Instant::now();
                    let mut sent = VecDeque::new();
                    let answered = self.serve(&mut connection, &mut sent, &mut backoff).await;
                    let Err(lost) = answered else { break };
                    self.settle(sent, &connection, &lost);
                    if connected_at.elapsed() >= self.config.connection.reconnect_longest {
                        backoff.reset();
                    }
                    lost.error
                }
            };
            warn!(nsqd = %self.config.address, %error, "producer is not connected");
            self.state.send_replace(ProducerState::Disconnected(Some(error)));
            let wait = backoff.next(&mut rand::rng());
            self.while_disconnected(sleep(wait)).await;
        }
        debug!(nsqd = %self.config.address, "producer closed");
        self.state.send_replace(ProducerState::Closed);
    }

    fn is_done(&self) -> bool {
        !self.open && self.queued.is_empty()
    }

    /// `None` if there is nothing left to connect for.
    async fn connect(&mut self) -> Option<Result<Connection, ConnectionError>> {
        let config = self.config.clone();
        let opening = async move { Connection::open(&config.address, &config.connection).await };
        let opened = self.while_disconnected(Box::pin(opening)).await?;
        Some(opened.map(|(connection, negotiated)| {
            debug!(?negotiated, "nsqd answered");
            connection
        }))
    }

    /// Runs `future` while requests queue up and withdrawn ones give their places back; `None` when
    /// everything was withdrawn and nothing more can come.
    async fn while_disconnected<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(future);
        loop {
            if self.is_done() {
                return None;
            }
            tokio::select! {
                output = &mut future => return Some(output),
                request = self.incoming.recv(), if self.open => self.enqueue(request),
                () = self.closing.cancelled(), if !self.incoming.is_closed() => self.incoming.close(),
                () = self.bounds.withdrawn() => self.queued.retain(|request| !request.is_withdrawn()),
            }
        }
    }

    fn enqueue(&mut self, request: Option<Request>) {
        match request {
            Some(request) => self.queued.push_back(request),
            None => self.open = false,
        }
    }

    /// Serves one connection until it is lost (an error) or nothing more is to be done.
    async fn serve(
        &mut self,
        connection: &mut Connection,
        sent: &mut VecDeque<Sent>,
        backoff: &mut Backoff,
    ) -> Result<(), Lost> {
        loop {
            self.send_queued(connection, sent);
            while let Some(frame) = connection.next_frame()? {
                let unanswered = sent.len();
                let outcome = resolve_first(sent, frame);
                if sent.len() < unanswered {
                    // A connection that did some work is proof that the next is worth a try soon; one
                    // that was merely accepted is not.
                    backoff.reset();
                }
                outcome?;
            }
            if self.is_done() && sent.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                progress = connection.drive() => progress?,
                request = self.incoming.recv(), if self.open && connection.has_room() => self.enqueue(request),
                () = self.closing.cancelled(), if !self.incoming.is_closed() => self.incoming.close(),
            }
        }
    }

    /// Moves as many requests as there is room for into the connection's buffer.
    fn send_queued(&mut self, connection: &mut Connection, sent: &mut VecDeque<Sent>) {
        while connection.has_room() {
            let Some(request) = self.queued.pop_front().or_else(|| self.incoming.try_recv().ok()) else {
                return;
            };
            let Some(command) = request.begin() else {
                continue;
            };
            connection.send(command);
            sent.push_back(Sent {
                request,
                end: connection.queued(),
            });
        }
    }

    /// After a loss: tells those whose message may have been stored, and queues the others again.
    fn settle(&mut self, sent: VecDeque<Sent>, connection: &Connection, lost: &Lost) {
        for Sent { request, end } in sent.into_iter().rev() {
            let never_arrived = end > connection.written();
            if !lost.rest_unseen && !never_arrived {
                request.resolve(Err(PublishError::Unknown(lost.error.clone())));
            } else if request.take_back() {
                self.queued.push_front(request);
            }
        }
    }
}

/// Tells the sender of the oldest unanswered command what became of it.
fn resolve_first(sent: &mut VecDeque<Sent>, frame: Frame) -> Result<(), Lost> {
    let result = match frame {
        Frame::Response(data) if data == "OK" => Ok(()),
        Frame::Response(_) => {
            return Err(ConnectionError::Protocol("a publish answered with neither OK nor error").into());
        }
        Frame::Message(_) => return Err(ConnectionError::Protocol("a message without a subscription").into()),
        Frame::Error(error) => Err(error),
    };
    let Some(first) = sent.pop_front() else {
        return Err(match result {
            Ok(()) => ConnectionError::Protocol("more answers than commands").into(),
            Err(error) => ConnectionError::Server(error).into(),
        });
    };
    match result {
        Ok(()) => first.request.resolve(Ok(())),
        Err(error) => {
            let fatal = error.code.is_fatal();
            first.request.resolve(Err(PublishError::Rejected(error.clone())));
            if fatal {
                return Err(Lost {
                    error: error.into(),
                    rest_unseen: true,
                });
            }
        }
    }
    Ok(())
}

// === impl Lost ===

impl From<ConnectionError> for Lost {
    fn from(error: ConnectionError) -> Self {
        Self {
            error,
            rest_unseen: false,
        }
    }
}

#[cfg(test)]
mod tests;
