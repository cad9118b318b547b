//! One nsqd of a consumer: connects, subscribes, carries messages in and answers out, and connects again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::ConsumerConfig;
use super::inbox::Inbox;
use super::message::{Message, MessageId, Origin};
use super::stats::Counters;
use crate::backoff::Backoff;
use crate::command::Command;
use crate::connection::Connection;
use crate::error::ConnectionError;
use crate::frame::{Frame, RawMessage};
use crate::identify::Negotiated;

/// After everything is answered, how long to listen for messages that nsqd sent before it read CLS. One
/// missed would come again only when its deadline has passed.
const LATE_MESSAGES: Duration = Duration::from_millis(50);

/// What a connection's task is told: by messages and by the coordinator.
#[derive(Debug)]
pub(super) enum LinkCommand {
    Ready(u32),
    Finish(MessageId),
    Requeue { id: MessageId, delay: Duration },
    Touch { id: MessageId, deadline: Instant },
}

/// What a link tells the coordinator.
#[derive(Debug)]
pub(super) enum LinkEvent {
    Connected {
        generation: u64,
        max_rdy: u32,
        commands: mpsc::UnboundedSender<LinkCommand>,
        gauge: Arc<Gauge>,
    },
    Lost {
        generation: Option<u64>,
        error: ConnectionError,
    },
}

/// How long a link is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// For ever.
    Keep,
    /// As long as the connection it has: nsqlookupd names this nsqd no more.
    UntilLost,
    /// Until what is in flight is answered.
    UntilDrained,
}

/// What the coordinator reads of a connection.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    pub(super) in_flight: AtomicU32,
    pub(super) received: AtomicU64,
}

/// Wakes the coordinator when messages are answered, while it waits for that.
#[derive(Debug, Default)]
pub(super) struct AnswerSignal {
    pub(super) wanted: AtomicBool,
    pub(super) answered: Notify,
}

/// What all links of a consumer share.
pub(super) struct Shared {
    pub(super) config: ConsumerConfig,
    pub(super) inbox: Inbox,
    pub(super) counters: Counters,
    pub(super) signal: AnswerSignal,
    pub(super) generations: AtomicU64,
    /// Messages requeued at the end, as nobody had begun with them.
    pub(super) given_back: AtomicUsize,
    /// Ends everything at once.
    pub(super) kill: CancellationToken,
}

pub(super) struct Link {
    pub(super) address: String,
    pub(super) shared: Arc<Shared>,
    pub(super) lifetime: watch::Receiver<Lifetime>,
    pub(super) events: mpsc::UnboundedSender<(String, LinkEvent)>,
}

/// One connection of a link, from SUB to its end.
struct Session<'a> {
    shared: &'a Shared,
    connection: Connection,
    origin: Arc<Origin>,
    commands: mpsc::UnboundedReceiver<LinkCommand>,
    gauge: Arc<Gauge>,
    /// The messages that nsqd waits for, and until when.
    in_flight: HashMap<MessageId, Instant>,
    /// No deadline in `in_flight` is earlier.
    next_expiry: Instant,
    largest_rdy: u32,
    closing: Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    /// CLS was sent.
    Asked,
    /// nsqd has read it.
    Granted,
}

// === impl Link ===

impl Link {
    /// Runs until its lifetime is over.
    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        tokio::select! {
            () = self.keep_connected() => {}
            () = shared.kill.cancelled() => {}
        }
    }

    async fn keep_connected(&mut self) {
        let shared = self.shared.clone();
        let config = &shared.config.connection;
        let mut backoff = Backoff::new(config.reconnect_first, config.reconnect_longest);
        loop {
            let mut lifetime = self.lifetime.clone();
            let opened = tokio::select! {
                opened = self.open() => opened,
                // An error means that the coordinator is gone.
                _ = lifetime.wait_for(|lifetime| *lifetime == Lifetime::UntilDrained) => return,
            };
            let (generation, error) = match opened {
                Err(error) => (None, error),
                Ok((connection, negotiated)) => {
                    let opened_at = Instant::now();
                    let (generation, ended, worked) = self.serve(connection, negotiated).await;
                    if worked || opened_at.elapsed() >= config.reconnect_longest {
                        backoff.reset();
                    }
                    match ended {
                        Ok(()) => return,
                        Err(error) => (Some(generation), error),
                    }
                }
            };
            warn!(nsqd = %self.address, %error, "consumer is not connected");
            // The coordinator may be gone; then the lifetime below is over too.
            let _ = self
                .events
                .send((self.address.clone(), LinkEvent::Lost { generation, error }));
            let wait = backoff.next(&mut rand::rng());
            tokio::select! {
                () = sleep(wait) => {}
                _ = self.lifetime.wait_for(|lifetime| *lifetime != Lifetime::Keep) => return,
            }
        }
    }

    /// Connects and subscribes.
    async fn open(&self) -> Result<(Connection, Negotiated), ConnectionError> {
        let config = &self.shared.config;
        let (mut connection, negotiated) = Connection::open(&self.address, &config.connection).await?;
        connection.send(Command::Subscribe {
            topic: config.topic.clone(),
            channel: config.channel.clone(),
        });
        let after = config.connection.handshake_timeout;
        let answer = tokio::time::timeout(after, connection.response()).await;
        let answer = answer.map_err(|_| ConnectionError::HandshakeTimeout {
            address: self.address.clone(),
            after,
        })?;
        if answer? != "OK" {
            return Err(ConnectionError::Protocol(
                "SUB answered with neither OK nor error",
            ));
        }
        Ok((connection, negotiated))
    }

    /// Serves a connection to its end; tells its generation, how it ended, and whether it brought anything.
    async fn serve(
        &mut self,
        connection: Connection,
        negotiated: Negotiated,
    ) -> (u64, Result<(), ConnectionError>, bool) {
        let (sender, commands) = mpsc::unbounded_channel();
        let generation = self.shared.generations.fetch_add(1, Ordering::Relaxed);
        let gauge = Arc::new(Gauge::default());
        let origin = Origin {
            address: self.address.clone(),
            generation,
            commands: sender.clone(),
            msg_timeout: negotiated.msg_timeout,
            max_msg_timeout: negotiated.max_msg_timeout.max(negotiated.msg_timeout),
        };
        info!(nsqd = %self.address, version = negotiated.version, "consumer connected");
        let max_rdy = negotiated.max_rdy_count;
        let connected = LinkEvent::Connected {
            generation,
            max_rdy,
            commands: sender,
            gauge: gauge.clone(),
        };
        // The coordinator may be gone; then the lifetime is over too.
        let _ = self.events.send((self.address.clone(), connected));

        let mut session = Session {
            shared: &self.shared,
            connection,
            origin: Arc::new(origin),
            commands,
            gauge: gauge.clone(),
            in_flight: HashMap::new(),
            next_expiry: Instant::now(),
            largest_rdy: 0,
            closing: Closing::No,
        };
        let ended = session.run(&mut self.lifetime).await;
        // From here on, answers to what this connection brought are refused, and nobody is handed more.
        drop(session);
        for message in self.shared.inbox.take_from(generation) {
            message.forget();
        }
        (generation, ended, gauge.received.load(Ordering::Relaxed) > 0)
    }
}

// === impl Session ===

impl Session<'_> {
    /// `Ok` when it was drained.
    async fn run(&mut self, lifetime: &mut watch::Receiver<Lifetime>) -> Result<(), ConnectionError> {
        loop {
            while let Some(frame) = self.connection.next_frame()? {
                self.take(frame)?;
            }
            if self.is_drained() {
                self.answer_late_messages().await?;
                if self.is_drained() {
                    return Ok(());
                }
            }
            let has_room = self.connection.has_room();
            tokio::select! {
                biased;
                progress = self.connection.drive() => progress?,
                Some(command) = self.commands.recv(), if has_room => self.execute_all(command),
                () = sleep_until(self.next_expiry), if !self.in_flight.is_empty() => self.expire(),
                changed = lifetime.wait_for(|lifetime| *lifetime == Lifetime::UntilDrained), if self.closing == Closing::No => {
                    // An error means that the coordinator is gone, and by that the consumer.
                    drop(changed);
                    self.closing = Closing::Asked;
                    self.connection.send(Command::Close);
                }
            }
        }
    }

    fn take(&mut self, frame: Frame) -> Result<(), ConnectionError> {
        match frame {
            Frame::Message(raw) => self.receive(raw),
            Frame::Response(data) if data == "CLOSE_WAIT" && self.closing == Closing::Asked => {
                self.closing = Closing::Granted;
                self.give_back();
                Ok(())
            }
            Frame::Response(_) => Err(ConnectionError::Protocol("a response to no command")),
            Frame::Error(error) if error.code.is_fatal() => Err(error.into()),
            Frame::Error(error) => {
                warn!(nsqd = %self.origin.address, %error, "nsqd refused an answer; the message comes again");
                self.shared
                    .counters
                    .refused_answers
                    .fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn receive(&mut self, raw: RawMessage) -> Result<(), ConnectionError> {
        // Deadlines are known only roughly here, so nsqd may be a little ahead of us; but no server
        // makes this side hold without limit.
        if self.in_flight.len() > self.largest_rdy as usize * 2 + 64 {
            return Err(ConnectionError::Protocol("more messages than RDY allows"));
        }
        let message = Message::new(raw, self.origin.clone());
        if self.in_flight.is_empty() {
            self.next_expiry = message.deadline();
        }
        self.in_flight.insert(message.id(), message.deadline());
        self.gauge
            .in_flight
            .store(self.in_flight.len() as u32, Ordering::Relaxed);
        self.gauge.received.fetch_add(1, Ordering::Relaxed);
        self.shared.counters.received.fetch_add(1, Ordering::Relaxed);
        if self.closing == Closing::Granted {
            drop(message);
            self.shared.given_back.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let expired = self.shared.inbox.push(message);
        self.shared
            .counters
            .expired
            .fetch_add(expired as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Requeues what was not handed out. Not before nsqd has read CLS: it would send the same messages to
    /// this connection again.
    fn give_back(&mut self) {
        let unstarted = self.shared.inbox.take_from(self.origin.generation);
        self.shared
            .given_back
            .fetch_add(unstarted.len(), Ordering::Relaxed);
        drop(unstarted);
    }

    /// Executes this command and those that wait behind it.
    fn execute_all(&mut self, first: LinkCommand) {
        self.execute(first);
        while self.connection.has_room() {
            let Ok(command) = self.commands.try_recv() else {
                return;
            };
            self.execute(command);
        }
    }

    fn execute(&mut self, command: LinkCommand) {
        match command {
            LinkCommand::Ready(count) => {
                self.largest_rdy = self.largest_rdy.max(count);
                self.connection.send(Command::Ready(count));
            }
            LinkCommand::Finish(id) => {
                self.connection.send(Command::Finish(id));
                self.shared.counters.finished.fetch_add(1, Ordering::Relaxed);
                self.answered(id);
            }
            LinkCommand::Requeue { id, delay } => {
                self.connection.send(Command::Requeue { id, delay });
                self.shared.counters.requeued.fetch_add(1, Ordering::Relaxed);
                self.answered(id);
            }
            LinkCommand::Touch { id, deadline } => {
                self.connection.send(Command::Touch(id));
                if let Some(known) = self.in_flight.get_mut(&id) {
                    *known = deadline;
                }
            }
        }
    }

    fn answered(&mut self, id: MessageId) {
        self.in_flight.remove(&id);
        self.in_flight_shrank();
    }

    /// Stops counting what nsqd has given up by now.
    fn expire(&mut self) {
        let now = Instant::now();
        self.in_flight.retain(|_, deadline| *deadline > now);
        self.next_expiry = self.in_flight.values().min().copied().unwrap_or(now);
        self.in_flight_shrank();
    }

    fn in_flight_shrank(&self) {
        self.gauge
            .in_flight
            .store(self.in_flight.len() as u32, Ordering::Release);
        if self.shared.signal.wanted.load(Ordering::Acquire) {
            self.shared.signal.answered.notify_one();
        }
    }

    fn is_drained(&self) -> bool {
        self.closing == Closing::Granted
            && self.in_flight.is_empty()
            && self.commands.is_empty()
            && self.connection.is_flushed()
    }

    async fn answer_late_messages(&mut self) -> Result<(), ConnectionError> {
        let quiet = sleep(LATE_MESSAGES);
        tokio::pin!(quiet);
        loop {
            tokio::select! {
                progress = self.connection.drive() => progress?,
                () = &mut quiet => return Ok(()),
            }
            while let Some(frame) = self.connection.next_frame()? {
                debug!(nsqd = %self.origin.address, "a frame came after CLOSE_WAIT");
                self.take(frame)?;
            }
            if !self.is_drained() {
                return Ok(());
            }
        }
    }
}
