//! The consumer as its reader sees it.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::config::ConsumerConfig;
use super::control::ConsumerControl;
use super::coordinator::{Closing, Coordinator};
use super::discovery::Discovery;
use super::flow::Wishes;
use super::link::Shared;
use super::message::Message;
use super::state::{ConsumerState, Drained};
use crate::error::ConfigError;
use crate::http::LookupdHttp;

/// Receives the messages of one channel, from any number of nsqds.
///
/// A [`Stream`] of [`Message`]s, and [`Consumer::next`] without the trait; or [`Consumer::run`] with a
/// handler. Whatever the reader does, heartbeats are answered. Dropping the consumer closes it in an orderly
/// way in the background: what was not handed out is requeued, and messages still held can be answered.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use async_nsq::{Channel, Consumer, ConsumerConfig, Topic};
///
/// let mut config = ConsumerConfig::new(Topic::new("orders")?, Channel::new("billing")?);
/// config.lookupd = vec!["lookup-1:4161".into(), "lookup-2:4161".into()];
/// config.max_in_flight = 200;
/// let mut consumer = Consumer::start(config)?;
/// while let Some(message) = consumer.next().await {
///     message.finish()?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Consumer {
    control: ConsumerControl,
    _discovery: DropGuard,
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
        let clients: Vec<LookupdHttp> = clients
            .map(|address| LookupdHttp::new(address, config.lookupd_http.clone()))
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
        let (closing, closing_receiver) = watch::channel(Closing::No);
        let (state_sender, state) = watch::channel(ConsumerState::default());
        let shared = Arc::new(Shared::new(config));
        let coordinator = Coordinator::new(shared.clone(), wishes_receiver, found, hint, state_sender);
        tokio::spawn(coordinator.run(closing_receiver));

        let control = ConsumerControl {
            wishes,
            closing,
            state,
            shared,
        };
        Ok(Self {
            control,
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
        poll_fn(|cx| self.poll_message(cx)).await
    }

    /// A handle to pause, resume, drain and watch the consumer from elsewhere.
    pub fn control(&self) -> ConsumerControl {
        self.control.clone()
    }

    /// Ends the subscription as [`ConsumerControl::drain`] does.
    ///
    /// # Cancel safety
    /// Closing goes on, to the same deadline, when the future is dropped.
    pub async fn close(self, limit: Duration) -> Drained {
        self.control.drain(limit).await
    }

    fn poll_message(&self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        let shared = &self.control.shared;
        shared.inbox.poll_next(cx, &shared.counters)
    }
}

impl Stream for Consumer {
    type Item = Message;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll_message(cx)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.control.ask_to_close(None);
    }
}
