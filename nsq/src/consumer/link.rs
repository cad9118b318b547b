//! One nsqd of a consumer: connects, subscribes, and connects again when the connection is lost.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use super::ConsumerConfig;
use super::flow::{Flow, FlowLink};
use super::inbox::Inbox;
use super::message::{AnswerError, MessageId, Origin};
use super::rdy::Shares;
use super::refusal::RefusedAnswer;
use super::session::Session;
use super::stats::Counters;
use super::throttle::Verdict;
use crate::backoff::Backoff;
use crate::command::Command;
use crate::connection::Connection;
use crate::error::ConnectionError;
use crate::identify::Negotiated;

/// How far behind a listener to refusals may be.
const REFUSALS_KEPT: usize = 256;

/// What a connection's task is told: by messages and by the coordinator.
#[derive(Debug)]
pub(super) enum LinkCommand {
    /// The gauge's target has changed.
    Ready,
    Finish {
        id: MessageId,
        attempts: u16,
        confirm: Option<Confirm>,
    },
    Requeue {
        id: MessageId,
        /// Tells this delivery from others of the same message.
        attempts: u16,
        delay: Duration,
        verdict: Verdict,
    },
    Touch {
        id: MessageId,
        attempts: u16,
        deadline: Instant,
    },
}

/// Where nsqd's word on a FIN is to go.
pub(super) type Confirm = oneshot::Sender<Result<(), AnswerError>>;

/// What a link tells the coordinator.
#[derive(Debug)]
pub(super) enum LinkEvent {
    Connected {
        generation: u64,
        max_rdy: u32,
        flow: FlowLink,
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

/// What others read and write of a connection.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// The RDY it should have. Written under the lock of the flow; the connection's task sends it.
    pub(super) target: AtomicU32,
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
    pub(super) flow: Flow,
    /// Answers that did not count.
    pub(super) refusals: broadcast::Sender<RefusedAnswer>,
    pub(super) generations: AtomicU64,
    /// Messages requeued at the end, as nobody had begun with them.
    pub(super) given_back: AtomicUsize,
    /// Messages requeued at the end although somebody held them.
    pub(super) abandoned: AtomicUsize,
    /// The drain's deadline has passed: everything left is requeued.
    pub(super) late: CancellationToken,
    /// Ends everything at once.
    pub(super) kill: CancellationToken,
}

pub(super) struct Link {
    pub(super) address: String,
    pub(super) shared: Arc<Shared>,
    pub(super) lifetime: watch::Receiver<Lifetime>,
    pub(super) events: mpsc::UnboundedSender<(String, LinkEvent)>,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(config: ConsumerConfig) -> Self {
        // A lowered RDY is settled when what nsqd gathered before it has been written and read.
        let settling_time = config.connection.output_buffer_timeout + config.settling_time;
        let shares = Shares::new(
            config.max_in_flight,
            settling_time,
            config.idle_turn,
            config.busy_turn,
        );
        Self {
            flow: Flow::new(shares, config.backoff),
            config,
            inbox: Inbox::default(),
            counters: Counters::default(),
            signal: AnswerSignal::default(),
            refusals: broadcast::Sender::new(REFUSALS_KEPT),
            generations: AtomicU64::new(0),
            given_back: AtomicUsize::new(0),
            abandoned: AtomicUsize::new(0),
            late: CancellationToken::new(),
            kill: CancellationToken::new(),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
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
            flow: FlowLink {
                address: self.address.clone(),
                commands: sender,
                gauge: gauge.clone(),
            },
        };
        // The coordinator may be gone; then the lifetime is over too.
        let _ = self.events.send((self.address.clone(), connected));

        let mut session = Session::new(
            &self.shared,
            connection,
            Arc::new(origin),
            commands,
            gauge.clone(),
        );
        let span = info_span!("nsq_consumer", nsqd = %self.address, generation);
        let ended = session.run(&mut self.lifetime).instrument(span).await;
        // From here on, answers to what this connection brought are refused, and nobody is handed more.
        drop(session);
        gauge.in_flight.store(0, Ordering::Relaxed);
        for message in self.shared.inbox.take_from(generation) {
            message.forget();
        }
        (generation, ended, gauge.received.load(Ordering::Relaxed) > 0)
    }
}
