//! Consuming: a stream of messages from many nsqds.

mod config;
mod coordinator;
mod discovery;
mod inbox;
mod link;
mod message;
mod rdy;
mod session;
mod stats;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use config::ConsumerConfig;
pub use message::{AnswerError, Message, MessageId};
pub use stats::ConsumerStats;

use crate::error::{ConfigError, ConnectionError};
use crate::lookup::LookupClient;
use coordinator::{CloseRequest, Coordinator, Wishes};
use discovery::Discovery;
use link::Shared;

/// Receives the messages of one channel, from any number of nsqds.
///
/// A [`Stream`] of [`Message`]s, and [`Consumer::next`] without the trait. Whatever the reader does,
/// heartbeats are answered. Dropping the consumer closes it in an orderly way in the background: what
/// was not handed out is requeued, and messages still held can be answered.
#[derive(Debug)]
pub struct Consumer {
    control: ConsumerControl,
    close: Option<oneshot::Sender<CloseRequest>>,
    _discovery: DropGuard,
}

/// A handle on a [`Consumer`] for those who do not read its messages. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ConsumerControl {
    wishes: Arc<watch::Sender<Wishes>>,
    state: watch::Receiver<ConsumerState>,
    shared: Arc<Shared>,
}

/// The state of a consumer, to be watched.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsumerState {
    /// How many nsqds are configured or discovered.
    pub known: usize,
    /// How many of them are connected and subscribed.
    pub connected: usize,
    /// Whether it was asked to pause.
    pub paused: bool,
    /// Closed for good, and everything is done.
    pub closed: bool,
    /// Why the last connection was lost or could not be made.
    pub last_error: Option<ConnectionError>,
}

/// How a close went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Messages that had arrived and were not handed out; they were requeued.
    pub requeued: usize,
    /// Messages that were handed out and not answered before the deadline. nsqd delivers them again when
    /// theirs has passed.
    pub abandoned: usize,
}

// === impl Consumer ===

impl Consumer {
    /// Starts connecting in the background and returns at once, whether or not any server is there.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`ConfigError`] where the configuration cannot work.
    pub fn start(config: ConsumerConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let clients = config.lookupd.iter();
        let clients: Vec<LookupClient> = clients
            .map(|address| LookupClient::new(address, config.lookupd_timeout))
            .collect::<Result<_, _>>()?;

        let hint = Arc::new(Notify::new());
        let (found_sender, found) = watch::channel(BTreeSet::new());
        let end_discovery = CancellationToken::new();
        if !clients.is_empty() {
            let topic = config.topic.clone();
            let interval = config.lookupd_interval;
            let discovery = Discovery {
                clients,
                topic,
                interval,
                hint: hint.clone(),
                found: found_sender,
            };
            tokio::spawn(end_discovery.clone().run_until_cancelled_owned(discovery.run()));
        }

        let (wishes, wishes_receiver) = watch::channel(Wishes {
            max_in_flight: config.max_in_flight,
            paused: config.start_paused,
        });
        let (state_sender, state) = watch::channel(ConsumerState::new());
        let shared = Arc::new(Shared::new(config));
        let coordinator = Coordinator::new(shared.clone(), wishes_receiver, found, hint, state_sender);
        let (close, close_receiver) = oneshot::channel();
        tokio::spawn(coordinator.run(close_receiver));

        let control = ConsumerControl {
            wishes: Arc::new(wishes),
            state,
            shared,
        };
        Ok(Self {
            control,
            close: Some(close),
            _discovery: end_discovery.drop_guard(),
        })
    }

    /// The next message; waits while there is none. `None` only after closing.
    ///
    /// A message whose deadline has passed while it waited here is not handed out, as nsqd delivers it
    /// again.
    ///
    /// # Cancel safety
    /// No message is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|cx| self.control.shared.inbox.poll_next(cx)).await
    }

    /// A handle to pause, resume and watch the consumer from elsewhere.
    pub fn control(&self) -> ConsumerControl {
        self.control.clone()
    }

    /// Ends the subscription in an orderly way: nsqd is asked to send no more, what was not handed out is
    /// requeued, and messages that are held are waited for, at most until `limit` has passed.
    ///
    /// # Cancel safety
    /// Closing goes on, to the same deadline, when the future is dropped.
    pub async fn close(mut self, limit: Duration) -> Drained {
        let (drained, done) = oneshot::channel();
        let request = CloseRequest {
            deadline: Some(Instant::now() + limit),
            drained,
        };
        if let Some(close) = self.close.take() {
            // The coordinator only ends before this when the runtime does.
            let _ = close.send(request);
        }
        done.await.unwrap_or(Drained {
            requeued: 0,
            abandoned: 0,
        })
    }
}

impl Stream for Consumer {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.control.shared.inbox.poll_next(cx)
    }
}

// === impl ConsumerControl ===

impl ConsumerControl {
    /// Asks every nsqd to send no more (RDY 0). What is under way still arrives; messages held can be
    /// answered. Does nothing when paused already.
    pub fn pause(&self) {
        self.wish(|wishes| wishes.paused = true);
    }

    /// Ends a pause. Does nothing when not paused.
    pub fn resume(&self) {
        self.wish(|wishes| wishes.paused = false);
    }

    /// Changes how many messages may be unanswered at a time. Zero stops the flow, as a pause does.
    pub fn set_max_in_flight(&self, max_in_flight: u32) {
        self.wish(|wishes| wishes.max_in_flight = max_in_flight);
    }

    /// The state now.
    pub fn state(&self) -> ConsumerState {
        self.state.borrow().clone()
    }

    /// The state as it changes.
    pub fn watch_state(&self) -> watch::Receiver<ConsumerState> {
        self.state.clone()
    }

    /// What was done so far.
    pub fn stats(&self) -> ConsumerStats {
        self.shared.counters.snapshot()
    }

    fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        self.wishes.send_if_modified(|wishes| {
            let before = *wishes;
            change(wishes);
            *wishes != before
        });
    }
}

// === impl ConsumerState ===

impl ConsumerState {
    fn new() -> Self {
        Self {
            known: 0,
            connected: 0,
            paused: false,
            closed: false,
            last_error: None,
        }
    }

    /// Errors are not compared: a new one comes with a change of `connected`, or changes nothing for who
    /// watches.
    fn differs(&self, other: &Self) -> bool {
        let key = |state: &Self| {
            (
                state.known,
                state.connected,
                state.paused,
                state.closed,
                state.last_error.is_some(),
            )
        };
        key(self) != key(other)
    }
}

// === impl Shared ===

impl Shared {
    fn new(config: ConsumerConfig) -> Self {
        Self {
            config,
            inbox: inbox::Inbox::default(),
            counters: stats::Counters::default(),
            signal: link::AnswerSignal::default(),
            generations: AtomicU64::new(0),
            given_back: AtomicUsize::new(0),
            kill: CancellationToken::new(),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
