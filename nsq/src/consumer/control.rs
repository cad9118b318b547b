//! Steering and watching a consumer from elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, sleep_until};

use super::coordinator::Closing;
use super::flow::Wishes;
use super::link::Shared;
use super::refusal::RefusedAnswer;
use super::state::{ConsumerState, Drained, NsqdState};
use super::stats::ConsumerStats;
use crate::clock::from_now;

/// A handle on a [`Consumer`](super::Consumer) for those who do not read its messages. Cheap to clone.
///
/// ```
/// # use async_nsq::testing::MockNetwork;
/// use async_nsq::{Channel, Consumer, ConsumerConfig, Topic};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
/// # runtime.block_on(async {
/// # let network = MockNetwork::new();
/// # let nsqd = network.nsqd("127.0.0.1:4150");
/// let mut config = ConsumerConfig::new(Topic::new("orders")?, Channel::new("billing")?);
/// config.nsqd = vec!["127.0.0.1:4150".into()];
/// # config.connection.dialer = Some(network.dialer());
/// let consumer = Consumer::start(config)?;
/// let control = consumer.control();
/// let mut state = control.watch_state();
/// state.wait_for(|now| now.connected == 1).await?;
///
/// control.pause(); // what the messages need is away
/// control.resume(); // it is back
///
/// # nsqd.publish("order 1");
/// # while control.in_flight() == 0 { tokio::time::sleep(Duration::from_millis(1)).await; }
/// // One message has arrived, and nobody has asked for it.
/// let drained = control.drain(Duration::from_secs(10)).await;
/// assert_eq!((drained.requeued, drained.abandoned), (1, 0));
/// assert!(control.state().closed);
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ConsumerControl {
    pub(super) wishes: watch::Sender<Wishes>,
    pub(super) closing: watch::Sender<Closing>,
    pub(super) state: watch::Receiver<ConsumerState>,
    pub(super) shared: Arc<Shared>,
}

// === impl ConsumerControl ===

impl ConsumerControl {
    /// Asks every nsqd to send no more (RDY 0). What is under way still arrives; messages held can be
    /// answered. Does nothing when paused already. This is how a consumer waits for a circuit to close.
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

    /// Ends the subscription in an orderly way: every nsqd is asked to send no more (CLS), what was not
    /// handed out is requeued at once, and messages that are held are waited for. When `limit` has passed,
    /// what is still held is requeued at once as well, and its holder's answer fails.
    ///
    /// Asked several times, the earliest deadline counts, and all are told the same.
    ///
    /// # Cancel safety
    /// Closing goes on, to the same deadline, when the future is dropped.
    pub async fn drain(&self, limit: Duration) -> Drained {
        self.ask_to_close(Some(from_now(limit)));
        self.drained().await
    }

    /// Waits until the consumer is closed, whoever closes it.
    ///
    /// # Cancel safety
    /// Nothing happens when the future is dropped.
    pub async fn drained(&self) -> Drained {
        let mut state = self.state.clone();
        // An error means that the runtime is shutting down, and nothing can be told.
        let closed = state.wait_for(|state| state.closed).await;
        closed.ok().and_then(|state| state.drained).unwrap_or_default()
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

    /// How many messages have arrived and are not answered: those handed out, and those that wait to be.
    pub fn in_flight(&self) -> usize {
        self.shared.flow.in_flight()
    }

    /// How every connection is doing, in the order of their addresses.
    pub fn connections(&self) -> Vec<NsqdState> {
        self.shared.flow.connections()
    }

    /// The answers and touches that did not count, from now on. A listener that lags behind by more than
    /// 256 loses the oldest.
    pub fn refused_answers(&self) -> broadcast::Receiver<RefusedAnswer> {
        self.shared.refusals.subscribe()
    }

    /// Completes when the time for closing is over, where closing was asked for.
    pub(super) async fn deadline_of_drain(&self) {
        let mut closing = self.closing.subscribe();
        loop {
            let deadline = match *closing.borrow_and_update() {
                Closing::Asked(deadline) => deadline,
                Closing::No => None,
            };
            tokio::select! {
                // The sender is held here.
                _ = closing.changed() => {}
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return,
            }
        }
    }

    /// The earliest deadline counts, and any is earlier than none.
    pub(super) fn ask_to_close(&self, deadline: Option<Instant>) {
        self.closing.send_if_modified(|closing| {
            let earliest = match *closing {
                Closing::No => deadline,
                Closing::Asked(asked) => asked.into_iter().chain(deadline).min(),
            };
            let changed = *closing != Closing::Asked(earliest);
            *closing = Closing::Asked(earliest);
            changed
        });
    }

    fn wish(&self, change: impl FnOnce(&mut Wishes)) {
        self.wishes.send_if_modified(|wishes| {
            let before = *wishes;
            change(wishes);
            *wishes != before
        });
    }
}
