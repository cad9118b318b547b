//! The task that owns a producer's connection.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span, warn};

use super::ProducerState;
use super::gather::{self, Gathering};
use super::handle::Core;
use super::request::Request;
use super::rotation::Rotation;
use super::stats::add;
use crate::backoff::Backoff;
use crate::command::Command;
use crate::connection::Connection;
use crate::error::{ConnectionError, ErrorCode, PublishError};
use crate::frame::Frame;
use crate::identify::LONGEST;

/// Longer than this, nothing waits for nsqd's HTTP side to tell its limits.
const LEARNING_LIMIT: Duration = Duration::from_secs(1);

/// A command that nsqd has not answered for so long, and for longer than a publish may take, is not answered any more.
const LEAST_PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct ProducerTask {
    core: Arc<Core>,
    incoming: mpsc::UnboundedReceiver<Request>,
    state: watch::Sender<ProducerState>,
    closing: CancellationToken,
    rotation: Rotation,
    /// Where messages are to be sent in batches.
    gathering: Option<Gathering>,
    /// Not sent yet, oldest first. Bounded, as every request holds a place of `bounds`.
    queued: VecDeque<Request>,
    /// `false` once nothing more can come in.
    open: bool,
}

/// A command whose answer is outstanding. nsqd answers in the order of the commands.
struct Sent {
    requests: Requests,
    /// Where it ends in the stream of bytes.
    end: u64,
    at: Instant,
}

/// What one command carries.
enum Requests {
    One(Request),
    /// At least two messages of one topic, made one batch here.
    Merged(Vec<Request>),
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
        core: Arc<Core>,
        incoming: mpsc::UnboundedReceiver<Request>,
        state: watch::Sender<ProducerState>,
        closing: CancellationToken,
    ) -> Self {
        Self {
            rotation: Rotation::new(core.config.nsqd.len()),
            gathering: core.config.linger.map(Gathering::new),
            core,
            incoming,
            state,
            closing,
            queued: VecDeque::new(),
            open: true,
        }
    }

    pub(super) async fn run(mut self) {
        let core = self.core.clone();
        let reconnect_longest = core.config.connection.reconnect_longest;
        let mut backoff = Backoff::new(core.config.connection.reconnect_first, reconnect_longest);
        while !self.is_done() {
            let nsqd = &core.config.nsqd[self.rotation.current()].tcp;
            let (error, blameless) = match self.connect().await {
                None => continue,
                Some(Err(error)) => (error, false),
                Some(Ok(mut connection)) => {
                    self.state.send_replace(ProducerState::Connected);
                    add(&core.counters.connections, 1);
                    info!(%nsqd, "producer connected");
                    let connected_at = Instant::now();
                    let mut sent = VecDeque::new();
                    let span = info_span!("nsq_producer", %nsqd);
                    let serving = self.serve(&mut connection, &mut sent, &mut backoff);
                    let answered = serving.instrument(span).await;
                    let Err(lost) = answered else { break };
                    self.settle(sent, &connection, &lost);
                    if connected_at.elapsed() >= reconnect_longest {
                        backoff.reset();
                        self.rotation.worked();
                    }
                    let blameless = lost.is_over_our_command();
                    (lost.error, blameless)
                }
            };
            add(&core.counters.connection_failures, 1);
            warn!(%nsqd, %error, "producer is not connected");
            self.state.send_replace(ProducerState::Disconnected(Some(error)));
            // Another nsqd would have closed over the same command.
            if blameless || self.rotation.failed() {
                let wait = backoff.next(&mut rand::rng());
                self.while_disconnected(sleep(wait)).await;
            }
            core.current.store(self.rotation.current(), Ordering::Relaxed);
        }
        debug!("producer closed");
        self.state.send_replace(ProducerState::Closed);
    }

    fn is_done(&self) -> bool {
        !self.open && self.queued.is_empty()
    }

    /// `None` if there is nothing left to connect for.
    async fn connect(&mut self) -> Option<Result<Connection, ConnectionError>> {
        let core = self.core.clone();
        let nsqd = self.rotation.current();
        let opened = self.while_disconnected(Box::pin(open(core, nsqd))).await?;
        // Another one's messages may have waited long enough meanwhile.
        self.gathering = self.core.config.linger.map(Gathering::new);
        Some(opened)
    }

    /// Runs `future` while requests queue up and withdrawn ones give their places back; `None` when
    /// everything was withdrawn and nothing more can come.
    async fn while_disconnected<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let core = self.core.clone();
        tokio::pin!(future);
        loop {
            if self.is_done() {
                return None;
            }
            tokio::select! {
                output = &mut future => return Some(output),
                request = self.incoming.recv(), if self.open => self.enqueue(request),
                () = self.closing.cancelled(), if !self.incoming.is_closed() => self.incoming.close(),
                () = core.bounds.withdrawn() => self.queued.retain(|request| !request.is_withdrawn()),
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
        // An nsqd whose disk hangs goes on with heartbeats, and answers nothing.
        let patience = self.core.config.publish_timeout.max(LEAST_PATIENCE).min(LONGEST);
        let overdue = sleep(patience);
        tokio::pin!(overdue);
        loop {
            let unanswered = sent.len();
            self.send_queued(connection, sent);
            if unanswered > 0 && sent.len() > unanswered {
                let_others_run().await;
                self.send_queued(connection, sent);
            }
            while let Some(frame) = connection.next_frame()? {
                let unanswered = sent.len();
                let outcome = self.resolve_first(sent, frame);
                if sent.len() < unanswered {
                    // A connection that did some work is proof that the next is worth a try soon; one
                    // that was merely accepted is not.
                    backoff.reset();
                    self.rotation.worked();
                }
                outcome?;
            }
            if self.is_done() && sent.is_empty() {
                return Ok(());
            }
            let due_at = self.gathering.as_ref().and_then(Gathering::due_at);
            let wake_at = due_at.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                progress = connection.drive() => progress?,
                request = self.incoming.recv(), if self.open && connection.has_room() => self.enqueue(request),
                () = sleep_until(wake_at), if due_at.is_some() && connection.has_room() => {}
                () = &mut overdue, if !sent.is_empty() => {
                    let answer_due = sent.front().map_or_else(Instant::now, |oldest| oldest.at) + patience;
                    if answer_due <= Instant::now() {
                        return Err(ConnectionError::Unanswering(patience).into());
                    }
                    // It was of one that is answered.
                    overdue.as_mut().reset(answer_due);
                }
                () = self.closing.cancelled(), if !self.incoming.is_closed() => self.incoming.close(),
            }
        }
    }

    /// Moves as many requests as there is room for into the connection's buffer.
    fn send_queued(&mut self, connection: &mut Connection, sent: &mut VecDeque<Sent>) {
        if self.gathering.is_some() {
            return self.send_gathered(connection, sent);
        }
        while connection.has_room() {
            let Some(request) = self.queued.pop_front().or_else(|| self.incoming.try_recv().ok()) else {
                return;
            };
            if let Err(reason) = request.check(&self.core.limits) {
                request.resolve(Err(reason.into()));
            } else if request.begin() {
                let command = request.command();
                self.send(command, Requests::One(request), connection, sent);
            }
        }
    }

    fn send_gathered(&mut self, connection: &mut Connection, sent: &mut VecDeque<Sent>) {
        while let Ok(request) = self.incoming.try_recv() {
            self.queued.push_back(request);
        }
        let now = Instant::now();
        let waiting = self.queued.len();
        let due = self
            .gathering
            .as_mut()
            .is_some_and(|gathering| gathering.is_due(waiting, now));
        if !due && self.open {
            return;
        }
        while connection.has_room() {
            if let Some(first) = self.queued.front()
                && let Err(reason) = first.check(&self.core.limits)
            {
                if let Some(first) = self.queued.pop_front() {
                    first.resolve(Err(reason.into()));
                }
                continue;
            }
            let mut batch = gather::take_batch(&mut self.queued, &self.core.limits);
            let Some(command) = gather::command(&batch) else {
                break;
            };
            let requests = match batch.pop() {
                Some(single) if batch.is_empty() => Requests::One(single),
                last => {
                    batch.extend(last);
                    Requests::Merged(batch)
                }
            };
            self.send(command, requests, connection, sent);
        }
        if self.queued.is_empty()
            && let Some(gathering) = &mut self.gathering
        {
            gathering.is_due(0, now);
        }
    }

    fn send(
        &self,
        command: Command,
        requests: Requests,
        connection: &mut Connection,
        sent: &mut VecDeque<Sent>,
    ) {
        connection.send(command);
        add(&self.core.counters.commands, 1);
        let end = connection.queued();
        let at = Instant::now();
        sent.push_back(Sent { requests, end, at });
    }

    /// Tells the sender of the oldest unanswered command what became of it.
    fn resolve_first(&mut self, sent: &mut VecDeque<Sent>, frame: Frame) -> Result<(), Lost> {
        let refusal = match frame {
            Frame::Response(data) if data == "OK" => None,
            Frame::Response(_) => {
                return Err(ConnectionError::Protocol("a publish answered with neither OK nor error").into());
            }
            Frame::Message(_) => {
                return Err(ConnectionError::Protocol("a message without a subscription").into());
            }
            Frame::Error(refusal) => Some(refusal),
        };
        let Some(Sent { requests, end, at }) = sent.pop_front() else {
            return Err(match refusal {
                None => ConnectionError::Protocol("more answers than commands").into(),
                Some(refusal) => ConnectionError::Server(refusal).into(),
            });
        };
        let Some(refusal) = refusal else {
            for request in requests {
                add(&self.core.counters.acknowledged, request.messages());
                request.resolve(Ok(()));
            }
            return Ok(());
        };
        let fatal = refusal.code.is_fatal();
        let learned = self.core.limits.learn_from(&refusal);
        match requests {
            // nsqd looks at a whole batch before it stores any of it (readMPUB, nsqd/protocol_v2.go). Now
            // that its limit is known, those that broke it are told, and the others sent again, in front of
            // what was sent behind them.
            requests @ Requests::Merged(_) if learned && fatal => {
                sent.push_front(Sent { requests, end, at });
            }
            requests => {
                for request in requests {
                    add(&self.core.counters.rejected, request.messages());
                    request.resolve(Err(PublishError::Rejected(refusal.clone())));
                }
            }
        }
        if fatal {
            return Err(Lost {
                error: refusal.into(),
                rest_unseen: true,
            });
        }
        Ok(())
    }

    /// After a loss: tells those whose message may have been stored, and queues the others again.
    fn settle(&mut self, sent: VecDeque<Sent>, connection: &Connection, lost: &Lost) {
        for Sent { requests, end, .. } in sent.into_iter().rev() {
            let never_arrived = end > connection.written();
            let unknown = !lost.rest_unseen && !never_arrived;
            for request in requests.into_iter().rev() {
                if !unknown {
                    self.queue_again(request);
                } else if request.repeats_unknown() {
                    request.doubt(&lost.error);
                    self.queue_again(request);
                } else {
                    add(&self.core.counters.unknown, request.messages());
                    request.resolve(Err(PublishError::Unknown(lost.error.clone())));
                }
            }
        }
    }

    /// Puts a request in front of the queue, unless nobody waits for it any more.
    fn queue_again(&mut self, request: Request) {
        if request.take_back() {
            add(&self.core.counters.repeated, request.messages());
            self.queued.push_front(request);
        }
    }
}

/// Goes to the end of the line once. Callers that were just answered get to publish again, and what they
/// publish is written with what is there already.
async fn let_others_run() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Connects to one nsqd, and asks for its limits where there is a way.
async fn open(core: Arc<Core>, nsqd: usize) -> Result<Connection, ConnectionError> {
    let nsqd = &core.config.nsqd[nsqd];
    let learn = async {
        let Some(http) = &nsqd.http else { return };
        match timeout(LEARNING_LIMIT, http.limits()).await {
            Ok(Ok(limits)) => core.limits.learn(limits),
            Ok(Err(error)) => warn!(nsqd = http.url(), %error, "nsqd does not tell its limits"),
            Err(_) => warn!(nsqd = http.url(), "nsqd does not tell its limits in time"),
        }
    };
    let (opened, ()) = tokio::join!(Connection::open(&nsqd.tcp, &core.config.connection), learn);
    let (connection, negotiated) = opened?;
    debug!(?negotiated, "nsqd answered");
    Ok(connection)
}

// === impl Requests ===

#[cfg(test)]
impl Requests {
    fn len(&self) -> usize {
        match self {
            Requests::One(_) => 1,
            Requests::Merged(requests) => requests.len(),
        }
    }
}

impl IntoIterator for Requests {
    type Item = Request;
    type IntoIter = std::iter::Chain<std::option::IntoIter<Request>, std::vec::IntoIter<Request>>;

    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self {
            Requests::One(request) => (Some(request), Vec::new()),
            Requests::Merged(requests) => (None, requests),
        };
        one.into_iter().chain(many)
    }
}

// === impl Lost ===

impl Lost {
    /// Whether nsqd closed because of what was sent, and not because of its own state.
    fn is_over_our_command(&self) -> bool {
        use ErrorCode::{BadBody, BadMessage, BadTopic, Invalid};
        match &self.error {
            ConnectionError::Server(refusal) => {
                self.rest_unseen && matches!(refusal.code, Invalid | BadBody | BadMessage | BadTopic)
            }
            _ => false,
        }
    }
}

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
